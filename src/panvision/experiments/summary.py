"""The test metrics of the pipeline's last run, and where its results are."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from panvision.core.tasks import TASKS, headline_metrics
from panvision.experiments.tables import number, reason_text, table
from panvision.report.inputs import BaselineMetrics, ReportError
from panvision.report.sharing import Sharing, read_baselines, read_sharing

RESULTS = {
    "checkpoint": "models/best_model.pth",
    "ONNX model": "models/panvision.onnx",
    "INT8 model": "models/panvision.int8.onnx",
    "model card": "models/MODEL_CARD.md",
    "report": "reports/report.html",
}


class SummaryError(ValueError):
    """The metrics cannot be shown; the message names the file and the remedy."""


def summary(project: Path) -> str:
    """Return the metrics as a table, then the paths of the results.

    Raises:
        SummaryError: a metrics file is missing or damaged.
    """
    metrics = _metrics(project)
    lines = [*metric_lines(metrics), ""]
    sharing = read_sharing(_baselines(project), metrics)
    if sharing is not None:
        lines += [*sharing_lines(sharing), ""]
    return "\n".join([*lines, *table((16,), _results(project).items())]).rstrip()


def metric_lines(metrics: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the headline metrics with their intervals as a table.

    Args:
        metrics: content of each task's metrics file.
    """
    interval = "  95 % interval" if any(own.get("ci95") for own in metrics.values()) else ""
    rows = [("test split", "metric", f"value{interval}")]
    for task, key, name in headline_metrics():
        missing = "undefined" if _trained(metrics[task]) else "not trained"
        ends, reason = _interval(metrics[task], key)
        between = "  " + (reason_text(reason) if ends is None else f"{ends['low']:.3f} to {ends['high']:.3f}")
        rows.append((task, name, number(metrics[task].get(key), missing=missing) + between))
    return table((16, 20), rows)


def to_json(project: Path) -> dict[str, Any]:
    """Return the same as plain values.

    Raises:
        SummaryError: as `summary`.
    """
    metrics = _metrics(project)
    figures: dict[str, dict[str, Any]] = {}
    for task, key, _ in headline_metrics():
        own = figures.setdefault(task, {"trained": _trained(metrics[task])})
        ends, reason = _interval(metrics[task], key)
        own[key] = {"value": metrics[task].get(key), "ci95": ends, "ci95_null": reason}
    baselines = _baselines(project).model_dump(mode="json")
    return {"figures": figures, "baselines": baselines, "files": _results(project)}


def sharing_lines(sharing: Sharing) -> list[str]:
    """Return the shared model's metrics beside those of single-task models as a table, with its remarks."""
    head = ("test split", "metric", "shared", "alone", "shared - alone")
    rows = [
        (row.task, row.name, number(row.shared), number(row.alone), number(row.difference, "+.3f"))
        for row in sharing.rows
    ]
    return [*table((16, 20, 10, 10), [head, *rows]), *sharing.remarks]


def _interval(metrics: Mapping[str, Any], key: str) -> tuple[dict[str, float] | None, str | None]:
    """Return a metric's interval and the reason why there is none."""
    return (metrics.get("ci95") or {}).get(key), (metrics.get("ci95_null") or {}).get(key)


def _trained(metrics: Mapping[str, Any]) -> bool:
    # Of a task that was not trained, the number of images is null as well.
    return metrics.get("images", 0) is not None


def _results(project: Path) -> dict[str, str]:
    return {name: path for name, path in RESULTS.items() if (project / path).exists()}


def _baselines(project: Path) -> BaselineMetrics:
    try:
        return read_baselines(project / "metrics/baselines.json")
    except ReportError as error:
        raise SummaryError(str(error)) from error


def _metrics(project: Path) -> dict[str, dict[str, Any]]:
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
