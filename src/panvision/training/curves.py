"""One row per epoch: what the DVC plots, the report and the tracker show."""

from pathlib import Path

from panvision.core.files import write_rows

LOSSES = ("seg", "det", "det_class", "det_box", "det_centerness", "cls", "total")
# What each task's loss counts at the end of the epoch.
WEIGHTS = ("weight_seg", "weight_det", "weight_cls")
# How often each training sample was seen so far, on average over the task.
SEEN = ("seen_segmentation", "seen_detection", "seen_classification")
COLUMNS = (
    "epoch",
    "lr",
    "backbone_lr",
    *(f"train_{name}" for name in LOSSES),
    *(f"val_{name}" for name in LOSSES),
    "miou",
    "map50",
    "accuracy",
    "grad_norm",
    *WEIGHTS,
    *SEEN,
)

Row = dict[str, float | None]


def write_curves(path: str | Path, rows: list[Row]) -> None:
    """Write rows as CSV: six significant digits, an undefined figure is an empty cell."""
    table = [["" if row[name] is None else f"{row[name]:.6g}" for name in COLUMNS] for row in rows]
    write_rows(path, COLUMNS, table, durable=True)
