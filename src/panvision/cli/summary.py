"""`panvision summary`: the pipeline's figures on the test split as a short table, and where the results lie."""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from panvision.report.inputs import BaselineMetrics, ReportError
from panvision.report.sharing import FIGURES, Sharing, read_baselines, read_sharing

RESULTS = (
    ("checkpoint", "models/best_model.pth"),
    ("ONNX model", "models/panvision.onnx"),
    ("report", "reports/report.html"),
)


class SummaryError(ValueError):
    """The metrics cannot be shown; the message names the file and the remedy."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `panvision summary`."""
    parser.add_argument("path", nargs="?", default=".", help="the project's folder (default: the current one)")


def run(args: argparse.Namespace) -> int:
    """Print the table; returns 0, or 1 when the pipeline has not run."""
    try:
        print(summary(Path(args.path)))
    except SummaryError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def summary(project: Path) -> str:
    """The table as text.

    Raises:
        SummaryError: a metrics file is missing or is no JSON object.
    """
    baselines = _baselines(project / "metrics/baselines.json")
    metrics = {task: _read(project / "metrics" / f"{task}.json") for task in dict.fromkeys(row[0] for row in FIGURES)}
    interval = "  95 % interval" if any(own.get("ci95") for own in metrics.values()) else ""
    lines = [f"{'test split':<16}{'figure':<20}value{interval}"]
    shown = ""
    for task, key, name in FIGURES:
        value = metrics[task].get(key)
        # Of a task that the model has not, the number of images is null as well.
        lacking = "not trained" if metrics[task].get("images", 0) is None else "undefined"
        text = lacking if value is None else f"{value:.3f}{_interval(metrics[task], key)}"
        lines.append(f"{'' if task == shown else task:<16}{name:<20}{text}")
        shown = task
    lines.append("")
    sharing = read_sharing(baselines, metrics)
    if sharing is not None:
        lines += [*sharing_lines(sharing), ""]
    lines.extend(f"{name:<16}{path}" for name, path in RESULTS if (project / path).exists())
    return "\n".join(lines).rstrip()


def sharing_lines(sharing: Sharing) -> list[str]:
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


def _baselines(path: Path) -> BaselineMetrics:
    try:
        return read_baselines(path)
    except ReportError as error:
        raise SummaryError(str(error)) from error


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
