"""The cost or gain of a shared backbone: metrics of the shared model next to those of single-task baselines."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from panvision.core.tasks import headline_metrics
from panvision.report.inputs import BaselineMetrics, read_metrics


@dataclass(frozen=True)
class SharingRow:
    """One metric of both models, fractions; None is undefined.

    Attributes:
        task: task of the metric.
        name: name of the metric.
        shared: value of the model of several tasks.
        alone: value of the model of this task alone.
        difference: shared less alone: above 0, sharing helps.
    """

    task: str
    name: str
    shared: float | None
    alone: float | None
    difference: float | None


@dataclass(frozen=True)
class Sharing:
    """The comparison.

    Attributes:
        rows: one per metric of the tasks with a baseline.
        remarks: further differences between the models.
    """

    rows: list[SharingRow]
    remarks: list[str]


def read_baselines(path: Path) -> BaselineMetrics:
    """Read metrics/baselines.json; a missing file counts as an empty one.

    Raises:
        ReportError: it is damaged.
    """
    return read_metrics(path, BaselineMetrics, maker="panvision baselines") if path.exists() else BaselineMetrics()


def read_sharing(baselines: BaselineMetrics, current: Mapping[str, Mapping[str, float | None]]) -> Sharing | None:
    """Compare for a table; None if no baseline was measured.

    Args:
        baselines: output of `panvision baselines`.
        current: metrics of the run that the comparison is shown with, by task and key.
    """
    rows = []
    for task, key, name in headline_metrics():
        if task in baselines.tasks and key in (figures := baselines.tasks[task].figures):
            found = figures[key]
            rows.append(SharingRow(task, name, found.shared, found.alone, found.difference))
    if not rows:
        return None
    remarks = [
        f"{task}: {baseline.experiment} also differs in {', '.join(baseline.also_differs)}."
        for task, baseline in sorted(baselines.tasks.items())
        if baseline.also_differs
    ]
    shared = {(task, key): found.shared for task, own in baselines.tasks.items() for key, found in own.figures.items()}
    if any(value != current.get(task, {}).get(key) for (task, key), value in shared.items()):
        remarks.append(f"The shared metrics are those of {baselines.shared}, not of the present run.")
    return Sharing(rows, remarks)
