"""The training curves."""

import functools
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from panvision.core.tasks import TASKS, Task
from panvision.report.charts import Chart, Point, Series, line_chart
from panvision.report.inputs import CURVE_COLUMNS, Numbers, read_numbers
from panvision.report.table import SECTIONS

# Numbers of colours in page.css.
TRAINING, VALIDATION, RATE = 6, 8, 6


@dataclass(frozen=True)
class Training:
    """The curves of both phases.

    Attributes:
        epochs: epochs of phase 1 and of phase 2.
        charts: total loss, loss of each task, validation metrics, learning rate. Epochs are numbered consecutively over
            both phases. Charts of tasks that the model does not have are left out.
    """

    epochs: tuple[int, int]
    charts: list[Chart]


def read_training(curves: Path, tasks: Collection[Task] = TASKS) -> Training:
    """Read `<curves>/phase1.csv` and `<curves>/phase2.csv` and draw the curves of the model's tasks.

    Raises:
        ReportError: a file is missing or damaged.
    """
    phases = [read_numbers(curves / name, CURVE_COLUMNS) for name in ("phase1.csv", "phase2.csv")]
    first, second = map(len, phases)
    draw = functools.partial(
        line_chart,
        x_range=(0.5, max(first + second, 1) + 0.5),
        divider=first + 0.5 if first and second else None,
        mark="phase 2" if first and second else "",
    )
    losses = {"total": "Total loss", **{TASKS[task].loss: f"{task.capitalize()} loss" for task in tasks}}
    charts = [
        draw(
            title,
            [
                _series("training", phases, f"train_{loss}", color=TRAINING),
                _series("validation", phases, f"val_{loss}", color=VALIDATION),
            ],
            names=("epoch", "loss"),
        )
        for loss, title in losses.items()
    ]
    best = {task: TASKS[task].metrics[0] for task in tasks}
    metrics = [_series(one.name, phases, one.key, color=SECTIONS[task].color) for task, one in best.items()]
    charts.append(draw("Validation metrics", metrics, names=("epoch", "fraction"), y_range=(0.0, 1.0)))
    rate = _series("learning rate", phases, "lr", color=RATE)
    charts.append(draw("Learning rate", [rate], names=("epoch", "learning rate")))
    return Training((first, second), charts)


def _series(name: str, phases: list[list[Numbers]], column: str, *, color: int) -> Series:
    """Return a column over both phases, its last value in the legend."""
    runs: list[list[Point]] = []
    start = 1
    for rows in phases:
        runs.append([(start + number, row[column]) for number, row in enumerate(rows)])
        start += len(rows)
    last = next((y for _, y in reversed([point for run in runs for point in run]) if y is not None), None)
    return Series(name, runs, note="" if last is None else f"{last:.3g}", color=color)
