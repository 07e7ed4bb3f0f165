"""What earlier stages wrote, read and checked: metrics as typed figures, tables as rows."""

import csv
import math
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, RootModel, ValidationError

Fraction = Annotated[float, Field(ge=0.0, le=1.0)] | None
Count = Annotated[int, Field(ge=0)]
# Column name → value; None is undefined.
Numbers = dict[str, float | None]

LOSSES = tuple(f"{part}_{task}" for part in ("train", "val") for task in ("seg", "det", "cls", "total"))
CURVE_COLUMNS = ("epoch", "lr", *LOSSES, "miou", "map50", "accuracy")


class ReportError(ValueError):
    """Something the report shows is missing or damaged; the message names the file and the remedy."""


class _Figures(BaseModel):
    """Figures of a file; keys that the report does not show are passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, allow_inf_nan=False)


class Interval(_Figures):
    """A confidence interval."""

    low: float
    high: float


class _Scores(_Figures):
    """What the three tasks' metrics have in common: test images, and intervals of some figures by name.

    Of a task that the model has not been trained for, the number of images is None, as every other figure is.
    """

    images: Count | None
    ci95: dict[str, Interval | None] = {}


class SegmentationMetrics(_Scores):
    """metrics/segmentation.json, fractions; None is undefined."""

    miou: Fraction
    iou: dict[str, Fraction]
    dice: Fraction


class DetectionMetrics(_Scores):
    """metrics/detection.json, likewise."""

    map50: Fraction
    map50_95: Fraction
    ap50: dict[str, Fraction]


class ClassificationMetrics(_Scores):
    """metrics/classification.json, likewise."""

    accuracy: Fraction
    balanced_accuracy: Fraction
    recall: dict[str, Fraction]


class SplitCounts(_Figures):
    """Images of each split."""

    train: Count
    val: Count
    test: Count


class SetCounts(SplitCounts):
    """One task's images, the groups they fall into, and images of each class by split."""

    images: Count
    groups: Count
    classes: dict[str, SplitCounts]


class DataMetrics(_Figures):
    """metrics/data.json; `problems` counts them by code."""

    segmentation: SetCounts
    detection: SetCounts
    classification: SetCounts
    problems: dict[str, Count]
    cross_task_groups: Count


class ExportMetrics(RootModel[dict[str, JsonValue]]):
    """metrics/export.json: whatever export measured, by name."""


class Comparison(_Figures):
    """One figure of the shared model and of the single-task one; `difference` is shared less alone."""

    shared: Fraction
    alone: Fraction
    difference: float | None


class Baseline(_Figures):
    """One task's single-task model: its experiment, its figures by key, and params and deps that differ too."""

    experiment: str
    also_differs: list[str]
    figures: dict[str, Comparison]


class BaselineMetrics(_Figures):
    """metrics/baselines.json: the run of the shared model, and the baselines by task; `{}` where there is none."""

    shared: str = ""
    tasks: dict[str, Baseline] = {}


FiguresT = TypeVar("FiguresT", bound=BaseModel)


def read_metrics(path: Path, schema: type[FiguresT], *, maker: str = "dvc repro") -> FiguresT:
    """Read a metrics file.

    Args:
        path: the file.
        schema: what it must hold.
        maker: the command that writes it.

    Raises:
        ReportError: it cannot be read, is not JSON, or has not these figures.
    """
    try:
        return schema.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ReportError(f"{path}: cannot be read: {error.strerror}; run `{maker}`") from error
    except ValidationError as error:
        fault = error.errors()[0]
        place = "".join(f"{step}: " for step in fault["loc"])
        raise ReportError(f"{path}: {place}{fault['msg']}; run `{maker}` again") from error


def read_table(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    """Read a CSV file with a header that has at least `columns`.

    Raises:
        ReportError: it cannot be read, a column is missing, or a row has more or fewer cells than the header.
    """
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream)
            header, rows = reader.fieldnames or (), list(reader)
    except OSError as error:
        raise ReportError(f"{path}: cannot be read: {error.strerror}; run `dvc repro`") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise ReportError(f"{path}: no CSV file ({error}); run `dvc repro` again") from error
    missing = [column for column in columns if column not in header]
    if missing:
        raise ReportError(f"{path}: has no column {', '.join(missing)}; run `dvc repro` again")
    for number, row in enumerate(rows, start=2):
        # DictReader files cells beyond the header under None, and None as the value of cells that are not there.
        if None in row or None in row.values():
            raise ReportError(f"{path}: line {number} does not fit the header; run `dvc repro` again")
    return rows


def read_numbers(path: Path, columns: tuple[str, ...]) -> list[Numbers]:
    """Read the columns of a CSV file as numbers; other columns are passed over.

    Returns:
        One dict per row; an empty cell, NaN or infinity is None.

    Raises:
        ReportError: as `read_table`, or a cell is no number.
    """
    return [
        {column: _number(row[column], f"{path}: line {number}: {column}") for column in columns}
        for number, row in enumerate(read_table(path, columns), start=2)
    ]


def _number(cell: str, place: str) -> float | None:
    try:
        value = float(cell) if cell else math.nan
    except ValueError as error:
        raise ReportError(f"{place}: expected a number, found {cell!r}; run `dvc repro` again") from error
    return value if math.isfinite(value) else None
