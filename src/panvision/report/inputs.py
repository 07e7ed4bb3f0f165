"""What earlier stages wrote, read and checked: metrics as typed figures, tables as rows."""

import csv
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

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


class Scores(_Figures):
    """What the three tasks' metrics have in common: test images, and intervals of figures by dotted key.

    Of a task that the model has not been trained for, the number of images is None, as every other figure is. Further
    figures are read as they stand; `figures.py` knows which are shown.
    """

    model_config = ConfigDict(frozen=True, extra="allow", strict=True, allow_inf_nan=False)

    images: Count | None
    ci95: dict[str, Interval | None] = {}

    def flat(self) -> dict[str, float | None]:
        """Every figure by its dotted key, `ap50.stirrer`."""
        values = self.model_dump(exclude={"ci95"})
        return {
            ".".join(path): value for path, value in leaves(values) if value is None or isinstance(value, (int, float))
        }

    def by_class(self, key: str) -> dict[str, float | None]:
        """A figure of each class."""
        values: dict[str, float | None] = self.model_dump()[key]
        return values


def leaves(values: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The keys that lead to each value of nested ones, ("loss", "cls"), and the value."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from leaves(value, (*above, name))
        else:
            yield (*above, name), value


class SegmentationMetrics(Scores):
    """metrics/segmentation.json; None is undefined."""

    miou: Fraction
    iou: dict[str, Fraction]
    dice: Fraction


class DetectionMetrics(Scores):
    """metrics/detection.json, likewise."""

    map50: Fraction
    map50_95: Fraction
    ap50: dict[str, Fraction]


class ClassificationMetrics(Scores):
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


class JsonFigures(RootModel[dict[str, JsonValue]]):
    """metrics/export.json and models/config.json: whatever is in them, by name."""


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


class Earlier(_Figures):
    """A figure of an earlier commit.

    Attributes:
        value: what it was.
        present: what it was compared with.
        difference: 95 % interval of `present` less `value` over the same pictures; None where it is not known.
    """

    value: float | None
    present: float | None
    difference: Interval | None


class PreviousMetrics(_Figures):
    """metrics/previous.json: which commit, and its figures by task and dotted key; `{}` where there is none."""

    commit: str = ""
    tasks: dict[str, dict[str, Earlier]] = {}


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
