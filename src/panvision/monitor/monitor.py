"""Frames in, smoothed results and events out, without cameras and clocks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from panvision.inference.images import to_rgb
from panvision.inference.results import Result, reported_boxes
from panvision.monitor.boxes import BoxSmoother
from panvision.monitor.errors import MonitorError
from panvision.monitor.events import (
    PAN_REMOVED,
    PAN_RETURNED,
    SOURCE_LOST,
    SOURCE_RETURNED,
    STATE_CHANGED,
    Event,
)
from panvision.monitor.masks import MaskSmoother
from panvision.monitor.options import MonitorOptions, check_names
from panvision.monitor.scene import SceneWatch, is_covered
from panvision.monitor.smoothing import Presence, StateSmoother


class FramePredictor(Protocol):
    """The part of `panvision.inference.Predictor` that a monitor needs."""

    @property
    def det_class_names(self) -> Sequence[str]:
        """Names of the box classes, by index."""
        ...

    @property
    def cls_class_names(self) -> Sequence[str]:
        """Names of the states, by index."""
        ...

    def predict(self, image: npt.NDArray[np.uint8]) -> Result:
        """Return mask, boxes and state of one image."""
        ...


@dataclass(frozen=True)
class Reading:
    """One frame after smoothing.

    Attributes:
        time: seconds, on the clock of the frames.
        result: smoothed mask, boxes and state, in the form of `Predictor.predict`.
        raw: the model's result of this frame alone, with boxes below the monitor's thresholds, if it has any.
        state: the present state; None before the first one, for a model without states, and in a scene that the model
            does not answer.
        events: the new events, in their order.
        drift: running mean of the distance from the training images, as a fraction of the largest accepted one; None
            for a model without it.
    """

    time: float
    result: Result
    raw: Result
    state: str | None
    events: tuple[Event, ...]
    drift: float | None = None


class Monitor:
    """Watches one pan.

    Args:
        predictor: the model; anything with `predict`, `det_class_names` and `cls_class_names`.
        options: smoothing and thresholds of events.
        thresholds: class name → least score of the boxes that count; None: all that the model reports.
        max_detections: most boxes of a frame that count; None: all of these.

    Raises:
        MonitorError: options that name classes the model does not have.
    """

    def __init__(
        self,
        predictor: FramePredictor,
        options: MonitorOptions | None = None,
        thresholds: Mapping[str, float] | None = None,
        max_detections: int | None = None,
    ) -> None:
        self.predictor, self._thresholds, self._most = predictor, thresholds, max_detections
        self.options = options = options or MonitorOptions()
        boxes, states = predictor.det_class_names, predictor.cls_class_names
        check_names(options, boxes, states)
        self._states = StateSmoother(
            states,
            options.order,
            half_life=options.half_life,
            margin=options.margin,
            strong=options.strong,
            costs=options.costs,
        )
        self._boxes, self._mask = BoxSmoother(options.box_half_life), MaskSmoother(options.mask_half_life)
        self._pan = self._presence()
        self._objects = {name: self._presence() for name in options.expected if name in boxes}
        self._pan_by_box = options.pan in boxes
        self._scene = SceneWatch(
            half_life=options.half_life,
            hold=options.missing_after,
            drift_half_life=options.drift_half_life,
            drift_level=options.drift_level,
        )
        self._time: float | None = None
        self._waiting: float | None = None
        self._lost = False

    def _presence(self) -> Presence:
        return Presence(half_life=self.options.half_life, hold=self.options.missing_after)

    def see(self, image: npt.NDArray[np.uint8], time: float, *, bgr: bool = False) -> Reading:
        """Predict a frame and take it in.

        Args:
            image: (H, W, 3) uint8 RGB, or another input of `panvision.inference.images.to_rgb`.
            time: capture time in seconds on any clock; later than the previous frame.
            bgr: the channels are blue, green, red, as in a frame of OpenCV.

        Raises:
            MonitorError: a time that does not rise.
            ImageError: not an image.
        """
        rgb = to_rgb(image, bgr=bgr)
        return self.take(self.predictor.predict(rgb), time, rgb)

    def take(self, raw: Result, time: float, image: npt.NDArray[np.uint8] | None = None) -> Reading:
        """Take in the model's result of a frame at `time`; like `see`.

        A covered lens is distinguished from other unanswered scenes by the image (H, W, 3) uint8 RGB, if it is given.
        """
        if self._time is not None and not time > self._time:
            raise MonitorError(f"the times of frames must rise, found {time!r} after {self._time!r}")
        self._time = time
        given, raw = raw, raw.copy()
        if self._thresholds is not None and "detection" in raw:
            raw["detection"] = reported_boxes(raw["detection"], self._thresholds, self._most)
        events: list[Event] = []
        if self._lost:
            self._lost = False
            events.append(Event(SOURCE_RETURNED, time, 1.0))
        unanswered = "classification" in raw and not raw["classification"]["answered"]
        covered = unanswered and image is not None and is_covered(image)
        # Nothing can be seen through a covered lens, so nothing is missing.
        pan_seen = not covered and self._take_presence(raw, time, events)
        if "classification" in raw:
            events += self._scene.update(raw["classification"], time, covered=covered, pan_seen=pan_seen)
        result = raw.copy()
        if "segmentation" in raw:
            result["segmentation"] = {"mask": self._mask.update(raw["segmentation"]["mask"], time)}
        if "detection" in raw:
            result["detection"] = self._boxes.update(raw["detection"], time)
        if "classification" in raw:
            self._take_state(raw, result, time, events, pan_seen=pan_seen)
        state = self._states.state if self._scene.known else None
        return Reading(time, result, given, state, tuple(events), self._scene.drift)

    def idle(self, time: float) -> tuple[Event, ...]:
        """Report that no frame came until `time`; returns `source lost` once after `lost_after` seconds."""
        # Before the first frame, the wait counts. The frame's own time may be earlier.
        self._waiting = time if self._waiting is None else self._waiting
        since = self._waiting if self._time is None else self._time
        if self._lost or time - since < self.options.lost_after:
            return ()
        self._lost = True
        return (Event(SOURCE_LOST, time, 1.0),)

    def _take_presence(self, raw: Result, time: float, events: list[Event]) -> bool:
        """Update the pan and the expected objects; returns True if the frame shows the pan."""
        found = set(raw["detection"]["class_names"]) if "detection" in raw else set()
        pan_seen = True
        if self._pan_by_box:
            pan_seen = self.options.pan in found
        elif "segmentation" in raw:
            pan_seen = bool(np.count_nonzero(mask := raw["segmentation"]["mask"]) >= self.options.pan_area * mask.size)
        if self._pan.update(seen=pan_seen, time=time):
            if self._pan.there:
                # Its content may have changed.
                self._states.restart()
            events.append(Event(PAN_RETURNED if self._pan.there else PAN_REMOVED, time, self._pan.confidence))
        for name, item in self._objects.items():
            if name != self.options.pan and item.update(seen=name in found, time=time):
                events.append(Event(f"{name} {'returned' if item.there else 'missing'}", time, item.confidence))
        return pan_seen

    def _take_state(self, raw: Result, result: Result, time: float, events: list[Event], *, pan_seen: bool) -> None:
        """Take in the frame's state, if there is a pan, and set the result's."""
        before = self._states.state
        found = raw["classification"]
        if not self._scene.known:
            # Its content may have changed before it is seen again.
            self._states.restart()
        # A state seen on the worktop, in a pan that is being moved, or without an answer does not count.
        counts = pan_seen and self._pan.there and found["answered"] and self._scene.known
        changed = counts and self._states.update(found["probabilities"], time)
        probabilities, name = self._states.probabilities, self._states.likeliest
        if name is None:
            return
        if changed:
            events.append(Event(STATE_CHANGED, time, probabilities[name], before, name))
        names = list(found["probabilities"])
        result["classification"] = {
            **found,
            "class_idx": names.index(name),
            "class_name": name,
            "probabilities": {key: probabilities[key] for key in names},
        }
