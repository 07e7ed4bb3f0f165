"""The tables of test figures: which of a metrics file are shown, by what name, beside their interval and the past."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from panvision.report.inputs import Earlier, Interval, PreviousMetrics, read_metrics


@dataclass(frozen=True)
class Kind:
    """A figure as it is shown.

    Attributes:
        key: its dotted key in the metrics file; of a figure by class, the part before the class.
        name: what it is called.
        pixels: whether it counts pixels; else it is a fraction or has no unit.
        bar: whether a bar from 0 to 1 is drawn for it.
        falls: whether less is better.
        optional: whether it is left out where it is undefined, because it is not always asked for.
    """

    key: str
    name: str
    pixels: bool = False
    bar: bool = True
    falls: bool = False
    optional: bool = False


# Of the whole test split.
WHOLE: dict[str, tuple[Kind, ...]] = {
    "segmentation": (
        Kind("miou", "mIoU"),
        Kind("iou.pan", "IoU of the pan"),
        Kind("iou.background", "IoU of the background"),
        Kind("dice", "Dice of the pan"),
        Kind("precision", "precision of the pan's pixels"),
        Kind("recall", "recall of the pan's pixels"),
        Kind("boundary_mean_px", "boundary error, mean", pixels=True, bar=False, falls=True),
        Kind("boundary_p95_px", "boundary error, p95", pixels=True, bar=False, falls=True),
    ),
    "detection": (
        Kind("map50", "mAP@0.5"),
        Kind("map50_95", "mAP@[.5:.95]"),
        Kind("map_small", "mAP, small objects", optional=True),
        Kind("map_medium", "mAP, medium objects", optional=True),
        Kind("map_large", "mAP, large objects", optional=True),
        Kind("macro_f1", "F1, mean over classes"),
    ),
    "classification": (
        Kind("accuracy", "accuracy"),
        Kind("balanced_accuracy", "balanced accuracy"),
        Kind("macro_f1", "F1, mean over states"),
        Kind("mae_states", "error in states, mean", bar=False, falls=True, optional=True),
        Kind("quadratic_kappa", "quadratic kappa", bar=False, optional=True),
        Kind("ece", "calibration error (ECE)", bar=False, falls=True),
        Kind("ece_scaled", "calibration error, scaled", bar=False, falls=True),
        Kind("nll", "negative log-likelihood", bar=False, falls=True),
        Kind("nll_scaled", "negative log-likelihood, scaled", bar=False, falls=True),
    ),
}
# Not measured, but chosen on the validation split.
CHOSEN = "threshold"
# Of each class.
BY_CLASS: dict[str, tuple[Kind, ...]] = {
    "segmentation": (),
    "detection": (
        Kind("ap50", "AP@0.5"),
        Kind("precision", "precision"),
        Kind("recall", "recall"),
        Kind("f1", "F1"),
        Kind(CHOSEN, "threshold"),
    ),
    "classification": (
        Kind("recall", "recall"),
        Kind("precision", "precision"),
        Kind("f1", "F1"),
        Kind("f1_at_threshold", "F1 at threshold"),
        Kind(CHOSEN, "threshold"),
    ),
}
# A paired interval on one side of 0 is more than noise, one over 0 is not.
BETTER, WORSE, NOISE = "better", "worse", "noise"


@dataclass(frozen=True)
class Figure:
    """One figure of a test split.

    Attributes:
        kind: what it is.
        value: None is undefined.
        interval: of 95 %, if there is one.
        earlier: the same figure of the previous commit.
        known: whether the previous commit has it at all.
        change: value less earlier, None where either is undefined.
        verdict: `BETTER`, `WORSE`, `NOISE`, or "" where that is not known.
    """

    kind: Kind
    value: float | None
    interval: Interval | None = None
    earlier: float | None = None
    known: bool = False
    change: float | None = None
    verdict: str = ""

    def shown(self, value: float | None, *, sign: bool = False) -> str:
        """A value of this figure, or with `sign` a change of it, as text: three decimals, pixels with two."""
        if value is None:
            return "undefined"
        digits = 2 if self.kind.pixels else 3
        # A change too small for its digits has no sign either.
        mark = "±" if sign and not round(value, digits) else ""
        text = f"{mark}{abs(value) if mark else value:{'+' if sign and not mark else ''}.{digits}f}"
        return f"{text} px" if self.kind.pixels else text

    @property
    def span(self) -> str:
        """The interval as text, without unit."""
        if self.interval is None:
            return ""
        digits = 2 if self.kind.pixels else 3
        return f"{self.interval.low:.{digits}f} to {self.interval.high:.{digits}f}"


@dataclass(frozen=True)
class ClassRow:
    """A class and its figures, one per column."""

    name: str
    figures: list[Figure]


@dataclass(frozen=True)
class TaskFigures:
    """A task's tables.

    Attributes:
        whole: figures of the whole split.
        columns: figures that classes have.
        classes: a row per class.
    """

    whole: list[Figure]
    columns: list[Kind]
    classes: list[ClassRow]

    @property
    def compared(self) -> bool:
        """Whether a figure has a previous one."""
        return any(figure.known for figure in self.whole)

    @property
    def measured(self) -> bool:
        """Whether a figure of the whole split has an interval."""
        return any(figure.interval for figure in self.whole)

    @property
    def undefined(self) -> bool:
        """Whether a figure is undefined."""
        every = [*self.whole, *(figure for row in self.classes for figure in row.figures)]
        return any(figure.value is None for figure in every)


def read_previous(path: Path) -> PreviousMetrics:
    """metrics/previous.json; a missing file is an empty one.

    Raises:
        ReportError: it is damaged.
    """
    return read_metrics(path, PreviousMetrics, maker="panvision previous") if path.exists() else PreviousMetrics()


def compared_keys(task: str, values: Mapping[str, float | None]) -> list[str]:
    """Keys among `values` of the figures that are set beside an earlier commit's: all that are measured."""
    whole = {kind.key for kind in WHOLE[task]}
    prefixes = tuple(f"{kind.key}." for kind in BY_CLASS[task] if kind.key != CHOSEN)
    return [key for key in values if key in whole or (prefixes and key.startswith(prefixes))]


def task_figures(
    task: str,
    values: Mapping[str, float | None],
    intervals: Mapping[str, Interval | None],
    previous: Mapping[str, Earlier],
) -> TaskFigures:
    """A task's tables.

    Args:
        task: whose.
        values: its metrics by dotted key; what is not among them is not shown.
        intervals: of some of them.
        previous: of the previous commit.
    """

    def figure(kind: Kind, key: str) -> Figure:
        return _figure(kind, values.get(key), intervals.get(key), previous.get(key))

    whole = [
        figure(kind, kind.key)
        for kind in WHOLE[task]
        if kind.key in values and not (kind.optional and values[kind.key] is None)
    ]
    columns = [kind for kind in BY_CLASS[task] if any(key.startswith(f"{kind.key}.") for key in values)]
    # The first column's figure is there in every version of the file.
    first = f"{columns[0].key}." if columns else "."
    names = [key.removeprefix(first) for key in values if key.startswith(first)]
    rows = [ClassRow(name, [figure(kind, f"{kind.key}.{name}") for kind in columns]) for name in names]
    return TaskFigures(whole, columns, rows)


def _figure(kind: Kind, value: float | None, interval: Interval | None, earlier: Earlier | None) -> Figure:
    if earlier is None:
        return Figure(kind, value, interval)
    change = None if value is None or earlier.value is None else value - earlier.value
    verdict = ""
    # The paired interval holds for the run that it was computed for.
    same = value is not None and earlier.present is not None and math.isclose(value, earlier.present, abs_tol=1e-9)
    if earlier.difference is not None and same:
        verdict = _verdict(earlier.difference, falls=kind.falls)
    return Figure(kind, value, interval, earlier.value, known=True, change=change, verdict=verdict)


def _verdict(difference: Interval, *, falls: bool) -> str:
    if difference.low <= 0.0 <= difference.high:
        return NOISE
    return BETTER if (difference.low > 0.0) is not falls else WORSE
