"""The tables of test metrics, with 95 % intervals and the values of an earlier commit."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from panvision.core.tasks import Task
from panvision.report.inputs import Earlier, Interval, PreviousMetrics, read_metrics, read_rows
from panvision.report.section import CHOSEN, ShownMetric
from panvision.report.table import SECTIONS

# A paired interval on one side of 0 is more than noise, one that contains 0 is not.
BETTER, WORSE, NOISE = "better", "worse", "noise"


@dataclass(frozen=True)
class Entry:
    """The value of one metric.

    Attributes:
        metric: the metric.
        value: None is undefined.
        interval: 95 % interval, if there is one.
        reason: code of why there is none, "" if unknown.
        earlier: value of the previous commit.
        known: True if the previous commit has the metric at all.
        change: value less earlier, None where either is undefined.
        verdict: `BETTER`, `WORSE`, `NOISE`, or "" if unknown.
    """

    metric: ShownMetric
    value: float | None
    interval: Interval | None = None
    earlier: float | None = None
    known: bool = False
    change: float | None = None
    verdict: str = ""
    reason: str = ""

    def shown(self, value: float | None, *, sign: bool = False) -> str:
        """Format a value of this metric, or with `sign` a change of it: three decimals, pixels with two."""
        if value is None:
            return "undefined"
        digits = 2 if self.metric.pixels else 3
        # A change that rounds to 0 has no sign.
        mark = "±" if sign and not round(value, digits) else ""
        text = f"{mark}{abs(value) if mark else value:{'+' if sign and not mark else ''}.{digits}f}"
        return f"{text} px" if self.metric.pixels else text

    @property
    def span(self) -> str:
        """Format the interval, without unit, or the reason why there is none."""
        if self.interval is None:
            return "" if self.reason == "undefined" else self.reason.replace("_", " ")
        digits = 2 if self.metric.pixels else 3
        return f"{self.interval.low:.{digits}f} to {self.interval.high:.{digits}f}"


@dataclass(frozen=True)
class ClassRow:
    """A class and its entries, one per column."""

    name: str
    entries: list[Entry]


@dataclass(frozen=True)
class SliceRow:
    """Some of the test images, `brightness dark` for example, their number, and the headline metrics on them."""

    name: str
    images: int
    entries: list[Entry]


@dataclass(frozen=True)
class MetricTables:
    """The tables of a task.

    Attributes:
        whole: metrics of the whole split.
        columns: metrics of each class.
        classes: a row per class.
    """

    whole: list[Entry]
    columns: list[ShownMetric]
    classes: list[ClassRow]

    @property
    def compared(self) -> bool:
        """True if a metric has a previous value."""
        return any(entry.known for entry in self.whole)

    @property
    def measured(self) -> bool:
        """True if a metric of the whole split has an interval or a reason for having none."""
        return any(entry.span for entry in self.whole)

    @property
    def undefined(self) -> bool:
        """True if a metric is undefined."""
        entries = [*self.whole, *(entry for row in self.classes for entry in row.entries)]
        return any(entry.value is None for entry in entries)


def read_previous(path: Path) -> PreviousMetrics:
    """Read metrics/previous.json; a missing file counts as an empty one.

    Raises:
        ReportError: it is damaged.
    """
    return read_metrics(path, PreviousMetrics, maker="panvision previous") if path.exists() else PreviousMetrics()


def compared_keys(task: Task, values: Mapping[str, float | None]) -> list[str]:
    """Return the keys of `values` that are compared with an earlier commit: all that are measured."""
    whole = {metric.key for metric in SECTIONS[task].metrics}
    prefixes = tuple(f"{metric.key}." for metric in SECTIONS[task].class_metrics if metric.key != CHOSEN)
    return [key for key in values if key in whole or (prefixes and key.startswith(prefixes))]


def metric_tables(
    task: Task,
    values: Mapping[str, float | None],
    intervals: Mapping[str, Interval | None],
    previous: Mapping[str, Earlier],
    *,
    reasons: Mapping[str, str] | None = None,
    classes: Sequence[str] = (),
) -> MetricTables:
    """Arrange the tables of a task.

    Args:
        task: which.
        values: its metrics by dotted key; other metrics are not shown.
        intervals: of some of them.
        previous: values of the previous commit.
        reasons: codes of why the others have no interval, as far as they are known.
        classes: class names in the order of their rows; others come after them.
    """

    def entry(metric: ShownMetric, key: str) -> Entry:
        found = _entry(metric, values.get(key), intervals.get(key), previous.get(key))
        return replace(found, reason=(reasons or {}).get(key, ""))

    section = SECTIONS[task]
    whole = [
        entry(metric, metric.key)
        for metric in section.metrics
        if metric.key in values and not (metric.optional and values[metric.key] is None)
    ]
    columns = [metric for metric in section.class_metrics if any(key.startswith(f"{metric.key}.") for key in values)]
    # Every version of the file has the metric of the first column.
    first = f"{columns[0].key}." if columns else "."
    found = [key.removeprefix(first) for key in values if key.startswith(first)]
    names = [*(name for name in classes if name in found), *(name for name in found if name not in classes)]
    rows = [ClassRow(name, [entry(metric, f"{metric.key}.{name}") for metric in columns]) for name in names]
    return MetricTables(whole, columns, rows)


def read_slices(path: Path) -> dict[Task, list[SliceRow]]:
    """Read slices.csv: the rows of each task.

    Raises:
        ReportError: the file is missing or damaged.
    """
    found: dict[Task, list[SliceRow]] = {}
    numbers, texts = ("images", "value", "low", "high"), ("task", "slice", "metric", "reason")
    for row, cells in read_rows(path, numbers, texts):
        rows = found.setdefault(cells["task"], [])
        if not rows or rows[-1].name != cells["slice"]:
            rows.append(SliceRow(cells["slice"], int(row["images"] or 0), []))
        low, high = row["low"], row["high"]
        interval = None if low is None or high is None else Interval(low=low, high=high)
        rows[-1].entries.append(Entry(ShownMetric(cells["metric"]), row["value"], interval, reason=cells["reason"]))
    return found


def _entry(metric: ShownMetric, value: float | None, interval: Interval | None, earlier: Earlier | None) -> Entry:
    if earlier is None:
        return Entry(metric, value, interval)
    change = None if value is None or earlier.value is None else value - earlier.value
    verdict = ""
    # The paired interval is valid only for the run that it was computed for.
    same = value is not None and earlier.present is not None and math.isclose(value, earlier.present, abs_tol=1e-9)
    if earlier.difference is not None and same:
        verdict = _verdict(earlier.difference, smaller=metric.smaller)
    return Entry(metric, value, interval, earlier.value, known=True, change=change, verdict=verdict)


def _verdict(difference: Interval, *, smaller: bool) -> str:
    if difference.low <= 0.0 <= difference.high:
        return NOISE
    return BETTER if (difference.low > 0.0) is not smaller else WORSE
