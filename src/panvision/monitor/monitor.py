"""Frame after frame in, steadied results and events out. It knows nothing of cameras and never looks at a clock."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from panvision.inference.images import to_rgb
from panvision.inference.results import Result
from panvision.monitor.boxes import BoxSmoother
from panvision.monitor.events import (
    PAN_REMOVED,
    PAN_RETURNED,
    SOURCE_LOST,
    SOURCE_RETURNED,
    STATE_CHANGED,
    Event,
)
from panvision.monitor.masks import MaskSmoother
from panvision.monitor.options import MonitorError, MonitorOptions, check_names
from panvision.monitor.smoothing import Presence, StateSmoother


class FramePredictor(Protocol):
    """What a monitor needs of `panvision.inference.Predictor`."""

    @property
    def det_class_names(self) -> Sequence[str]:
        """What boxes are called, by class index."""
        ...

    @property
    def cls_class_names(self) -> Sequence[str]:
        """What states are called, by class index."""
        ...

    def predict(self, image: npt.NDArray[np.uint8]) -> Result:
        """Mask, boxes and state of one picture."""
        ...


@dataclass(frozen=True)
class Reading:
    """One frame as the monitor sees it.

    Attributes:
        time: seconds, on the clock of the frames.
        result: steadied mask, boxes and state, in the form of `Predictor.predict`.
        raw: what the model said of this frame alone.
        state: the present state; None before there is one, and where the model has no states.
        events: what has just happened, in the order of its happening.
    """

    time: float
    result: Result
    raw: Result
    state: str | None
    events: tuple[Event, ...]


class Monitor:
    """Watches one pan.

    Args:
        predictor: the model; anything with `predict`, `det_class_names` and `cls_class_names`.
        options: how to steady, and when to speak.

    Raises:
        MonitorError: options that name classes which the model has not.
    """

    def __init__(self, predictor: FramePredictor, options: MonitorOptions | None = None) -> None:
        self.predictor = predictor
        self.options = options = options or MonitorOptions()
        boxes, states = predictor.det_class_names, predictor.cls_class_names
        check_names(options, boxes, states)
        self._states = StateSmoother(
            states, options.order, half_life=options.half_life, margin=options.margin, strong=options.strong
        )
        self._boxes, self._mask = BoxSmoother(options.box_half_life), MaskSmoother(options.mask_half_life)
        self._pan = self._presence()
        self._things = {name: self._presence() for name in options.expected if name in boxes}
        self._pan_by_box = options.pan in boxes
        self._time: float | None = None
        self._waiting: float | None = None
        self._lost = False

    def _presence(self) -> Presence:
        return Presence(half_life=self.options.half_life, hold=self.options.missing_after)

    def see(self, image: npt.NDArray[np.uint8], time: float, *, bgr: bool = False) -> Reading:
        """Predict a frame and take it in.

        Args:
            image: (H, W, 3) uint8 RGB, or what else `panvision.inference.images.to_rgb` takes.
            time: when it was taken, in seconds on any clock; later than the frame before.
            bgr: the channels are blue, green, red, as in a frame of OpenCV.

        Raises:
            MonitorError: a time that does not rise.
            ImageError: no picture.
        """
        return self.take(self.predictor.predict(to_rgb(image, bgr=True) if bgr else image), time)

    def take(self, raw: Result, time: float) -> Reading:
        """Take in what the model said of a frame at `time`; as `see`."""
        if self._time is not None and not time > self._time:
            raise MonitorError(f"the times of frames must rise, found {time!r} after {self._time!r}")
        self._time = time
        events: list[Event] = []
        if self._lost:
            self._lost = False
            events.append(Event(SOURCE_RETURNED, time, 1.0))
        pan_seen = self._take_presence(raw, time, events)
        result = raw.copy()
        if "segmentation" in raw:
            result["segmentation"] = {"mask": self._mask.update(raw["segmentation"]["mask"], time)}
        if "detection" in raw:
            result["detection"] = self._boxes.update(raw["detection"], time)
        if "classification" in raw:
            self._take_state(raw, result, time, events, pan_seen=pan_seen)
        return Reading(time, result, raw, self._states.state, tuple(events))

    def idle(self, time: float) -> tuple[Event, ...]:
        """Say that no frame has come until `time`; gives `source lost` once when that has lasted too long."""
        # Before the first frame: since one was waited for. The frame's own time may be earlier.
        self._waiting = time if self._waiting is None else self._waiting
        since = self._waiting if self._time is None else self._time
        if self._lost or time - since < self.options.lost_after:
            return ()
        self._lost = True
        return (Event(SOURCE_LOST, time, 1.0),)

    def _take_presence(self, raw: Result, time: float, events: list[Event]) -> bool:
        """Look for the pan and the expected things; says whether the frame shows the pan."""
        found = set(raw["detection"]["class_names"]) if "detection" in raw else set()
        pan_seen = True
        if self._pan_by_box:
            pan_seen = self.options.pan in found
        elif "segmentation" in raw:
            pan_seen = bool(np.count_nonzero(mask := raw["segmentation"]["mask"]) >= self.options.pan_area * mask.size)
        if self._pan.update(seen=pan_seen, time=time):
            if self._pan.there:
                # Who knows what is in it now.
                self._states.restart()
            events.append(Event(PAN_RETURNED if self._pan.there else PAN_REMOVED, time, self._pan.confidence))
        for name, thing in self._things.items():
            if name != self.options.pan and thing.update(seen=name in found, time=time):
                events.append(Event(f"{name} {'returned' if thing.there else 'missing'}", time, thing.confidence))
        return pan_seen

    def _take_state(self, raw: Result, result: Result, time: float, events: list[Event], *, pan_seen: bool) -> None:
        """Take in the frame's state, unless there is no pan to have one, and set the result's."""
        before = self._states.state
        # What the model says of a worktop is no evidence; nor is a pan that may be on its way.
        changed = pan_seen and self._pan.there and self._states.update(raw["classification"]["probabilities"], time)
        probabilities, name = self._states.probabilities, self._states.likeliest
        if name is None:
            return
        if changed:
            events.append(Event(STATE_CHANGED, time, probabilities[name], before, name))
        names = list(raw["classification"]["probabilities"])
        result["classification"] = {
            "class_idx": names.index(name),
            "class_name": name,
            "probabilities": {key: probabilities[key] for key in names},
        }
