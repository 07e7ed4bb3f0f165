"""Settings of a monitor: smoothing, and thresholds of events."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

from panvision.monitor.errors import MonitorError

# The allowed range of each number, ends included.
RANGES = {
    "half_life": (0.01, 3600.0),
    "margin": (0.0, 0.9),
    "strong": (0.5, 1.0),
    "box_half_life": (0.0, 3600.0),
    "mask_half_life": (0.0, 3600.0),
    "missing_after": (0.0, 86400.0),
    "lost_after": (0.1, 86400.0),
    "pan_area": (0.0, 1.0),
    "drift_half_life": (1.0, 86400.0),
    "drift_level": (0.1, 2.0),
}


@dataclass(frozen=True)
class MonitorOptions:
    """The settings of a monitor.

    Attributes:
        half_life: seconds after which evidence for a state counts half, 0.01 to 3600. Longer is calmer and later.
        margin: smoothed probability by which a new state must exceed the old one, 0 to 0.9.
        strong: with an order, the smoothed probability at which a state further away is taken at once, 0.5 to 1
            (never).
        order: names of the states in their order; empty: they have none.
        costs: (C, C) of the model's C states, as in `ModelShape`: a state that is costly if it is wrong needs more
            evidence; empty: all mistakes cost the same.
        box_half_life: the same for boxes, 0 to 3600; 0 reports them unchanged. A box that has moved far is followed at
            once.
        mask_half_life: the same for the mask.
        missing_after: seconds of absence before `missing` or `pan removed` is reported, and of presence before
            `returned` is, 0 to 86400.
        lost_after: seconds without a frame after which `source lost` is reported, 0.1 to 86400.
        expected: names of box classes whose absence is an event.
        pan: name of the box class that is the pan.
        pan_area: fraction of the image that the mask must cover if there is a pan, 0 to 1; used for a model without
            boxes of the pan.
        drift_half_life: seconds after which a distance from the training images counts half in the running mean, 1 to
            86400.
        drift_level: running mean above which `drift` is reported, as a fraction of the largest distance that is
            answered, 0.1 to 2 (never); the mean must also be 1.2 times its smallest value after the first
            `drift_half_life` seconds.

    Raises:
        MonitorError: options out of range, all at once.
    """

    half_life: float = 0.5
    margin: float = 0.2
    strong: float = 0.75
    order: tuple[str, ...] = ()
    costs: tuple[tuple[float, ...], ...] = ()
    box_half_life: float = 0.2
    mask_half_life: float = 0.2
    missing_after: float = 2.0
    lost_after: float = 5.0
    expected: tuple[str, ...] = ("stirrer",)
    pan: str = "pan"
    pan_area: float = 0.01
    drift_half_life: float = 60.0
    drift_level: float = 0.9

    def __post_init__(self) -> None:
        problems = list(self._problems())
        if problems:
            raise MonitorError("; ".join(problems))

    def _problems(self) -> Iterator[str]:
        for name in (field.name for field in fields(self) if field.name in RANGES):
            value, (low, high) = getattr(self, name), RANGES[name]
            number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
            if not number or not low <= value <= high:
                yield f"{name} must be a number from {low:g} to {high:g}, found {value!r}"
        for name in ("order", "expected"):
            value = getattr(self, name)
            if not isinstance(value, tuple) or len(set(value)) != len(value):
                yield f"{name} must be a tuple of different names, found {value!r}"


def check_names(options: MonitorOptions, det_class_names: Sequence[str], cls_class_names: Sequence[str]) -> None:
    """Raise MonitorError unless the names in the options are those of the model.

    The default names of `expected` may be missing in the model.
    """
    if options.order and sorted(options.order) != sorted(cls_class_names):
        raise MonitorError(
            f"order must name each of the model's states once ({', '.join(cls_class_names) or 'it has none'}), "
            f"found {', '.join(options.order)}"
        )
    unknown = [name for name in options.expected if name not in det_class_names]
    if unknown and options.expected != MonitorOptions.expected:
        raise MonitorError(
            f"expected names {', '.join(unknown)}, but the model's boxes are {', '.join(det_class_names) or 'none'}"
        )
