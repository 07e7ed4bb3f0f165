"""The report's plots: training curves, precision over recall, confusion matrix, reliability of probabilities."""

import functools
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from panvision.core.tasks import TASKS
from panvision.report.charts import Chart, Point, Series, line_chart
from panvision.report.inputs import CURVE_COLUMNS, Numbers, ReportError, read_numbers, read_table

LOSS_TITLES = {
    "total": "Total loss",
    "seg": "Segmentation loss",
    "det": "Detection loss",
    "cls": "Classification loss",
}
METRIC_NAMES = {"miou": "mIoU", "map50": "mAP@0.5", "accuracy": "accuracy"}
# Columns of a single task → the task.
TASK_OF = {
    "seg": "segmentation",
    "det": "detection",
    "cls": "classification",
    "miou": "segmentation",
    "map50": "detection",
    "accuracy": "classification",
}
# Numbers of page.css's colours.
TRAINING, VALIDATION, RATE = 6, 8, 6
METRIC_COLORS = {"miou": 8, "map50": 2, "accuracy": 5}
# Probabilities of reliability.csv → colour, and the key of their calibration error.
RELIABILITY = {"as shipped": (8, "ece"), "scaled": (2, "ece_scaled")}


@dataclass(frozen=True)
class Training:
    """Both phases' curves.

    Attributes:
        epochs: epochs of phase 1 and of phase 2.
        charts: total loss, each task's loss, validation metrics, learning rate; epochs are counted on over the phases.
            What belongs to a task that the model has not is left out.
    """

    epochs: tuple[int, int]
    charts: list[Chart]


@dataclass(frozen=True)
class Cell:
    """How many pictures of the row's state were called the column's; `share` is that of the row's pictures."""

    count: int
    share: float


@dataclass(frozen=True)
class Confusion:
    """States, and for each true state (row) a cell per predicted state (column)."""

    names: list[str]
    rows: list[list[Cell]]


@dataclass(frozen=True)
class Bin:
    """Pictures of similar confidence: its mean, the share that was right, and how many there are."""

    probabilities: str
    confidence: float
    accuracy: float
    images: int


@dataclass(frozen=True)
class Reliability:
    """How far probabilities can be believed: accuracy over confidence, and the bins that it is drawn from."""

    chart: Chart
    bins: list[Bin]


def read_training(curves: Path, tasks: Collection[str] = TASKS) -> Training:
    """Read `<curves>/phase1.csv` and `<curves>/phase2.csv` and lay out what the model's tasks have.

    Raises:
        ReportError: a file is missing or damaged.
    """
    phases = [read_numbers(curves / name, CURVE_COLUMNS) for name in ("phase1.csv", "phase2.csv")]
    first, second = map(len, phases)
    last = max(first + second, 1)
    draw = functools.partial(
        line_chart,
        x_label="epoch",
        x_range=(0.5, last + 0.5),
        divider=first + 0.5 if first and second else None,
    )
    charts = []
    for loss, title in LOSS_TITLES.items():
        if loss == "total" or TASK_OF[loss] in tasks:
            training = _series("training", phases, f"train_{loss}", color=TRAINING)
            charts.append(draw(title, [training, _series("validation", phases, f"val_{loss}", color=VALIDATION)]))
    metrics = [
        _series(name, phases, key, color=METRIC_COLORS[key])
        for key, name in METRIC_NAMES.items()
        if TASK_OF[key] in tasks
    ]
    charts.append(draw("Validation metrics", metrics, y_range=(0.0, 1.0)))
    charts.append(draw("Learning rate", [_series("learning rate", phases, "lr", color=RATE)]))
    return Training((first, second), charts)


def read_precision_recall(path: Path, ap50: Mapping[str, float | None], names: Sequence[str]) -> Chart:
    """Precision over recall, a line per class that has one, in the colour of its boxes and with its AP.

    Args:
        path: precision_recall.csv.
        ap50: average precision of each class.
        names: the classes by index; others that the file names come after them.

    Raises:
        ReportError: the file is missing or damaged.
    """
    points: dict[str, list[Point]] = {}
    numbers = read_numbers(path, ("recall", "precision"))
    for row, cells in zip(numbers, read_table(path, ("class",)), strict=True):
        if row["recall"] is None:
            raise ReportError(f"{path}: {cells['class']}: a recall is missing; run `dvc repro` again")
        points.setdefault(cells["class"], []).append((row["recall"], row["precision"]))
    series = [
        Series(name, [points[name]], note="" if (area := ap50.get(name)) is None else f"AP {area:.3f}", color=color)
        for color, name in enumerate(_ordered(names, points))
        if name in points
    ]
    return line_chart("Precision over recall at IoU 0.5", series, x_label="recall", y_range=(0.0, 1.0))


def read_confusion(path: Path, names: Sequence[str]) -> Confusion:
    """Count true and predicted states; `names` come first, others that the file names after them.

    Raises:
        ReportError: the file is missing or damaged.
    """
    pairs = Counter((row["actual"], row["predicted"]) for row in read_table(path, ("actual", "predicted")))
    ordered = _ordered(names, (name for pair in pairs for name in pair))
    rows = []
    for actual in ordered:
        total = sum(pairs[actual, predicted] for predicted in ordered)
        rows.append([Cell(pairs[actual, found], pairs[actual, found] / max(total, 1)) for found in ordered])
    return Confusion(ordered, rows)


def read_reliability(path: Path, figures: Mapping[str, float | None]) -> Reliability:
    """Accuracy over confidence, a line for each kind of probabilities, with its calibration error.

    Args:
        path: reliability.csv.
        figures: of classification, by key.

    Raises:
        ReportError: the file is missing or damaged.
    """
    numbers = read_numbers(path, ("confidence", "accuracy", "images"))
    bins = []
    for number, (row, cells) in enumerate(zip(numbers, read_table(path, ("probabilities",)), strict=True), start=2):
        confidence, accuracy, images = row["confidence"], row["accuracy"], row["images"]
        if confidence is None or accuracy is None or images is None:
            raise ReportError(f"{path}: line {number}: a figure is missing; run `dvc repro` again")
        bins.append(Bin(cells["probabilities"], confidence, accuracy, int(images)))
    series = [Series("perfect", [[(0.0, 0.0), (1.0, 1.0)]], color=RATE, plain=True)]
    for name in dict.fromkeys(each.probabilities for each in bins):
        own = sorted((each for each in bins if each.probabilities == name), key=lambda each: each.confidence)
        color, key = RELIABILITY.get(name, (0, ""))
        points: list[Point] = [(each.confidence, each.accuracy) for each in own]
        note = "" if (error := figures.get(key)) is None else f"ECE {error:.3f}"
        said = {each.confidence: f", {each.images} image{'' if each.images == 1 else 's'}" for each in own}
        total = sum(each.images for each in own)
        shares = {each.confidence: each.images / max(total, 1) for each in own}
        series.append(Series(name, [points], note=note, color=color, said=said, shares=shares))
    return Reliability(line_chart("Accuracy over confidence", series, x_label="confidence", y_range=(0.0, 1.0)), bins)


def _ordered(names: Sequence[str], seen: Iterable[str]) -> list[str]:
    """The names, then what was seen besides them, sorted."""
    return [*names, *sorted(set(seen) - set(names))]


def _series(name: str, phases: list[list[Numbers]], column: str, *, color: int) -> Series:
    """A column over both phases, its last value in the legend."""
    runs: list[list[Point]] = []
    start = 1
    for rows in phases:
        runs.append([(start + number, row[column]) for number, row in enumerate(rows)])
        start += len(rows)
    last = next((y for _, y in reversed([point for run in runs for point in run]) if y is not None), None)
    return Series(name, runs, note="" if last is None else f"{last:.3g}", color=color)
