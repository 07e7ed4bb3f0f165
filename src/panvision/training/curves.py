"""Curves: one row per epoch, which the DVC plots, the report and the tracker show."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from panvision.core.files import write_rows
from panvision.core.tasks import DATASETS, TASKS
from panvision.training.losses import loss_names

if TYPE_CHECKING:
    from panvision.training.validation import Validation

Row = dict[str, float | None]

# The metric of each task that is measured after every epoch.
METRICS = {task: spec.metrics[0] for task, spec in TASKS.items()}
# Weight of each task's loss at the end of the epoch.
WEIGHTS = tuple(f"weight_{spec.loss}" for spec in TASKS.values())
# Norm of the gradient of each task's weighted loss on the backbone, of one batch per epoch.
NORMS = tuple(f"grad_norm_{spec.loss}" for spec in TASKS.values())
# Number of times that each training sample was seen so far, on average over the dataset.
SEEN = tuple(f"seen_{dataset}" for dataset in DATASETS)
COLUMNS = (
    "epoch",
    "lr",
    "backbone_lr",
    *(f"train_{name}" for name in loss_names()),
    *(f"val_{name}" for name in loss_names()),
    *(metric.key for metric in METRICS.values()),
    "score",
    "grad_norm",
    *NORMS,
    *WEIGHTS,
    *SEEN,
)


def epoch_row(epoch: int, learned: Mapping[str, float], validation: "Validation") -> Row:
    """Return an epoch's row.

    A value is None where the backbone is frozen, where float16's scaler skipped every step, and for tasks that are not
    trained.
    """
    row: Row = {"epoch": epoch, "lr": learned["lr"]}
    row |= {name: learned.get(name) for name in ("backbone_lr", "grad_norm", *NORMS, *WEIGHTS, *SEEN)}
    row |= {f"train_{name}": learned.get(name) for name in loss_names()}
    row |= {f"val_{name}": validation.losses.get(name) for name in loss_names()}
    return row | validation.metrics | {"score": validation.score}


def epoch_line(
    phase: str, epoch: int, epochs: int, learned: Mapping[str, float], validation: "Validation", *, better: bool
) -> str:
    """Return one epoch in at most 80 columns; a star marks the best so far."""
    names = {"map50": "mAP", "accuracy": "acc"}
    values = {names.get(each.key, each.name): validation.metrics[each.key] for each in METRICS.values()}
    shown = " ".join(f"{name} {'-' if value is None else f'{value:.3f}'}" for name, value in values.items())
    losses = f"train {learned['total']:.3f} val {validation.losses['total']:.3f}"
    return f"{phase} {epoch:>3}/{epochs} {losses} {shown}{' *' if better else ''}"


def write_curves(path: str | Path, rows: list[Row]) -> None:
    """Write rows as CSV with six significant digits; an undefined value is an empty cell."""
    table = [["" if row[name] is None else f"{row[name]:.6g}" for name in COLUMNS] for row in rows]
    write_rows(path, COLUMNS, table, durable=True)
