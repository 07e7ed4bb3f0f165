"""`panvision summary`: the pipeline's figures on the test split as a short table, and where the results lie."""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from panvision.cli.exits import Exit
from panvision.cli.flags import add_output, add_project, project_of
from panvision.cli.manual import Manual
from panvision.core.tasks import headline_metrics

if TYPE_CHECKING:
    from panvision.report.inputs import BaselineMetrics
    from panvision.report.sharing import Sharing

RESULTS = (
    ("checkpoint", "models/best_model.pth"),
    ("ONNX model", "models/panvision.onnx"),
    ("INT8 model", "models/panvision.int8.onnx"),
    ("model card", "models/MODEL_CARD.md"),
    ("report", "reports/report.html"),
)


class SummaryError(ValueError):
    """The metrics cannot be shown; the message names the file and the remedy."""


MANUAL = Manual(
    usage="",
    about="Shows the figures of the pipeline's last run on the test split with their intervals, and where the results "
    "lie.",
    examples={
        "of the project in the current folder": "panvision summary",
        "of another, for programs": "panvision summary --project ../pans --json",
    },
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `panvision summary`."""
    add_project(parser, positional=True)
    add_output(parser, "figures, baselines and files")


def run(args: argparse.Namespace) -> int:
    """Print the table; returns 0."""
    project = project_of(args)
    print(json.dumps(as_json(project), indent=2, ensure_ascii=False) if args.json else summary(project))
    return Exit.DONE


def summary(project: Path) -> str:
    """The table as text.

    Raises:
        SummaryError: a metrics file is missing or is no JSON object.
    """
    from panvision.report.sharing import read_sharing

    baselines = _baselines(project / "metrics/baselines.json")
    metrics = _metrics(project)
    interval = "  95 % interval" if any(own.get("ci95") for own in metrics.values()) else ""
    lines = [f"{'test split':<16}{'figure':<20}value{interval}"]
    shown = ""
    for task, key, name in headline_metrics():
        value = metrics[task].get(key)
        lacking = "undefined" if _trained(metrics[task]) else "not trained"
        text = lacking if value is None else f"{value:.3f}{_interval(metrics[task], key)}"
        lines.append(f"{'' if task == shown else task:<16}{name:<20}{text}")
        shown = task
    lines.append("")
    sharing = read_sharing(baselines, metrics)
    if sharing is not None:
        lines += [*sharing_lines(sharing), ""]
    lines.extend(f"{name:<16}{path}" for name, path in _results(project).items())
    return "\n".join(lines).rstrip()


def as_json(project: Path) -> dict[str, Any]:
    """The same as plain values.

    Raises:
        SummaryError: as for `summary`.
    """
    baselines, metrics = _baselines(project / "metrics/baselines.json"), _metrics(project)
    figures: dict[str, dict[str, Any]] = {}
    for task, key, _ in headline_metrics():
        own = figures.setdefault(task, {"trained": _trained(metrics[task])})
        own[key] = {"value": metrics[task].get(key), "ci95": (metrics[task].get("ci95") or {}).get(key)}
    return {"figures": figures, "baselines": baselines.model_dump(mode="json"), "files": _results(project)}


def sharing_lines(sharing: "Sharing") -> list[str]:
    """The shared model's figures beside those of single-task models as a table, with its remarks."""
    lines = [f"{'test split':<16}{'figure':<20}{'shared':<10}{'alone':<10}shared - alone"]
    shown = ""
    for row in sharing.rows:
        shared, alone = ("undefined" if value is None else f"{value:.3f}" for value in (row.shared, row.alone))
        difference = "undefined" if row.difference is None else f"{row.difference:+.3f}"
        lines.append(f"{'' if row.task == shown else row.task:<16}{row.name:<20}{shared:<10}{alone:<10}{difference}")
        shown = row.task
    return [*lines, *sharing.remarks]


def _interval(metrics: Mapping[str, Any], key: str) -> str:
    """A figure's interval as the table shows it; "" without one."""
    ends = (metrics.get("ci95") or {}).get(key)
    return "" if ends is None else f"  {ends['low']:.3f} to {ends['high']:.3f}"


def _trained(metrics: Mapping[str, Any]) -> bool:
    """Whether the model has a task: of one that it has not, the number of images is null as well."""
    return metrics.get("images", 0) is not None


def _results(project: Path) -> dict[str, str]:
    return {name: path for name, path in RESULTS if (project / path).exists()}


def _baselines(path: Path) -> "BaselineMetrics":
    from panvision.report.inputs import ReportError
    from panvision.report.sharing import read_baselines

    try:
        return read_baselines(path)
    except ReportError as error:
        raise SummaryError(str(error)) from error


def _metrics(project: Path) -> dict[str, dict[str, Any]]:
    from panvision.core.tasks import TASKS

    return {task: _read(project / "metrics" / f"{task}.json") for task in TASKS}


def _read(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SummaryError(f"{path}: no such file; run `make repro` or `dvc repro` first") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise SummaryError(f"{path}: not valid JSON ({error}); run `dvc repro` again") from error
    if not isinstance(values, dict):
        raise SummaryError(f"{path}: expected a JSON object; run `dvc repro` again")
    return values
