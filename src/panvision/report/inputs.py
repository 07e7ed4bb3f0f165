"""Files of earlier stages, read and checked: typed metrics, tables as rows."""

import csv
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, RootModel, ValidationError

from panvision.core.tasks import TASKS, Dataset, Task

Fraction = Annotated[float, Field(ge=0.0, le=1.0)] | None
Count = Annotated[int, Field(ge=0)]
# Column name → value; None is undefined.
Numbers = dict[str, float | None]

_LOSSES = (*(spec.loss for spec in TASKS.values()), "total")
CURVE_COLUMNS = (
    "epoch",
    "lr",
    *(f"{part}_{loss}" for part in ("train", "val") for loss in _LOSSES),
    *(spec.metrics[0].key for spec in TASKS.values()),
)


class ReportError(ValueError):
    """Raised if an input of the report is missing or damaged; the message names the file and the remedy."""


class _Values(BaseModel):
    """Values of a file; keys that the report does not show are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, allow_inf_nan=False)


class Interval(_Values):
    """A confidence interval."""

    low: float
    high: float


class Scores(_Values):
    """metrics/<task>.json: number of test images, any metrics, and intervals, or why there is none, by dotted key.

    If the model does not have the task, the number of images is None, like every metric.
    """

    model_config = ConfigDict(frozen=True, extra="allow", strict=True, allow_inf_nan=False)

    images: Count | None
    ci95: dict[str, Interval | None] = {}
    ci95_null: dict[str, str] = {}

    def flat(self) -> dict[str, float | None]:
        """Return every metric by its dotted key, `ap50.stirrer`."""
        values = self.model_dump(exclude={"ci95", "ci95_null"})
        return {
            ".".join(path): value for path, value in leaves(values) if value is None or isinstance(value, (int, float))
        }


def leaves(values: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the keys that lead to each nested value, ("loss", "cls"), and the value."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from leaves(value, (*above, name))
        else:
            yield (*above, name), value


class SplitCounts(_Values):
    """Images of each split."""

    train: Count
    val: Count
    test: Count


class SetCounts(SplitCounts):
    """One dataset's images, its groups, and images of each class by split."""

    images: Count
    groups: Count
    classes: dict[str, SplitCounts]


class DataMetrics(_Values):
    """metrics/data.json; `problems` counts the problems by code."""

    segmentation: SetCounts
    detection: SetCounts
    classification: SetCounts
    problems: dict[str, Count]
    cross_task_groups: Count

    def in_order(self, classes: Mapping[Dataset, Sequence[str]]) -> Self:
        """Return the same with the classes of each dataset in this order; others come after them."""
        changes: dict[str, SetCounts] = {}
        for name, names in classes.items():
            own: SetCounts = getattr(self, name)
            known = ordered([each for each in names if each in own.classes], own.classes)
            changes[name] = own.model_copy(update={"classes": {each: own.classes[each] for each in known}})
        return self.model_copy(update=changes)


class JsonValues(RootModel[dict[str, JsonValue]]):
    """metrics/export.json and models/config.json: any values by name."""


class Comparison(_Values):
    """One metric of the shared model and of the single-task model; `difference` is shared less alone."""

    shared: Fraction
    alone: Fraction
    difference: float | None


class Baseline(_Values):
    """One task's single-task model: its experiment, its metrics by key, and params and deps that differ too."""

    experiment: str
    also_differs: list[str]
    figures: dict[str, Comparison]


class BaselineMetrics(_Values):
    """metrics/baselines.json: the run of the shared model, and the baselines by task; `{}` without any."""

    shared: str = ""
    tasks: dict[str, Baseline] = {}


class Earlier(_Values):
    """A metric of an earlier commit.

    Attributes:
        value: its value there.
        present: the value that it was compared with.
        difference: 95 % interval of `present` less `value` on the same images; None if unknown.
    """

    value: float | None
    present: float | None
    difference: Interval | None


class PreviousMetrics(_Values):
    """metrics/previous.json: the commit, and its metrics by task and dotted key; `{}` without one."""

    commit: str = ""
    tasks: dict[str, dict[str, Earlier]] = {}


SchemaT = TypeVar("SchemaT", bound=BaseModel)


def read_metrics(path: Path, schema: type[SchemaT], *, maker: str = "dvc repro") -> SchemaT:
    """Read a metrics file.

    Args:
        path: the file.
        schema: its required content.
        maker: the command that writes it.

    Raises:
        ReportError: the file cannot be read, is not JSON, or lacks required values.
    """
    try:
        return schema.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ReportError(f"{path}: cannot be read: {error.strerror}; run `{maker}`") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = "".join(f"{step}: " for step in first["loc"])
        raise ReportError(f"{path}: {where}{first['msg']}; run `{maker}` again") from error


def read_scores(path: Path, task: Task) -> Scores:
    """Read a task's metrics file.

    Raises:
        ReportError: as `read_metrics`, or a headline metric is missing or not a number.
    """
    scores = read_metrics(path, Scores)
    values = scores.model_dump()
    for key in (metric.key for metric in TASKS[task].metrics):
        value = values.get(key, "")
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            found = f"found {value!r}" if key in values else "is missing"
            raise ReportError(f"{path}: {key}: must be a number or null, {found}; run `dvc repro` again")
    return scores


def read_table(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    """Read a CSV file with at least these columns.

    Raises:
        ReportError: the file cannot be read, lacks a column, or a row has more or fewer cells than the header.
    """
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream)
            header, rows = reader.fieldnames or (), list(reader)
    except OSError as error:
        raise ReportError(f"{path}: cannot be read: {error.strerror}; run `dvc repro`") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise ReportError(f"{path}: not a CSV file ({error}); run `dvc repro` again") from error
    missing = [column for column in columns if column not in header]
    if missing:
        raise ReportError(f"{path}: has no column {', '.join(missing)}; run `dvc repro` again")
    for number, row in enumerate(rows, start=2):
        # DictReader stores cells beyond the header under None, and None as the value of missing cells.
        if None in row or None in row.values():
            raise ReportError(f"{path}: line {number} does not fit the header; run `dvc repro` again")
    return rows


def read_numbers(path: Path, columns: tuple[str, ...]) -> list[Numbers]:
    """Read columns of a CSV file as numbers; other columns are ignored.

    Returns:
        One dict per row; an empty cell, NaN or infinity is None.

    Raises:
        ReportError: as `read_table`, or a cell is not a number.
    """
    return [numbers for numbers, _ in read_rows(path, columns, ())]


def read_rows(path: Path, numbers: tuple[str, ...], texts: tuple[str, ...]) -> list[tuple[Numbers, dict[str, str]]]:
    """Read columns of a CSV file as numbers, and others as text.

    Returns:
        Both parts of each row; of the numbers, an empty cell, NaN or infinity is None.

    Raises:
        ReportError: as `read_numbers`.
    """
    return [
        (
            {column: _number(row[column], f"{path}: line {line}: {column}") for column in numbers},
            {column: row[column] for column in texts},
        )
        for line, row in enumerate(read_table(path, (*numbers, *texts)), start=2)
    ]


def ordered(names: Sequence[str], seen: Iterable[str]) -> list[str]:
    """Return the names, then the other seen ones, sorted."""
    return [*names, *sorted(set(seen) - set(names))]


def _number(cell: str, where: str) -> float | None:
    try:
        value = float(cell) if cell else math.nan
    except ValueError as error:
        raise ReportError(f"{where}: expected a number, found {cell!r}; run `dvc repro` again") from error
    return value if math.isfinite(value) else None
