"""Scenes that the model does not answer, and the drift of the images away from those of the training."""

from math import inf

import numpy as np
import numpy.typing as npt
from PIL import Image

from panvision.decoding.answers import UNLIKE
from panvision.inference.results import ClassResult
from panvision.monitor.events import CAMERA_MOVED, DRIFT, LENS_COVERED, SCENE_RETURNED, UNKNOWN_SCENE, Event
from panvision.monitor.smoothing import Presence, weight_of

# Mean difference of neighbouring cells of a grey thumbnail, 0 to 255: 0 to 3.7 with a covered lens or no light, at
# least 7 on demo images and 11 on photos of kitchens.
_THUMBNAIL, _LEAST_DETAIL = 32, 4.0
# A distance beyond this multiple of the limit counts as this: one strange frame must not become drift.
_MOST_DRIFT = 2.0
# The distance of a good fixed camera is that of one scene: 4 % of the demo's held-out images are above 0.9. So drift is
# also at least this multiple of the scene's own smallest running mean.
_RISE = 1.2
# Drift is reported again after it has fallen below this fraction of the level.
_RELEASE = 0.95


def is_covered(image: npt.NDArray[np.uint8]) -> bool:
    """True if an image (H, W, 3) uint8 RGB shows hardly any detail: a hand on the lens, or no light."""
    grey = Image.fromarray(image).convert("L").resize((_THUMBNAIL, _THUMBNAIL), Image.Resampling.BOX)
    values = np.asarray(grey, dtype=np.float32)
    steps = [np.abs(np.diff(values, axis=axis)).mean() for axis in (0, 1)]
    return float(np.mean(steps)) < _LEAST_DETAIL


class SceneWatch:
    """The scene before the camera: answered or not, and how far from the training images.

    Args:
        half_life: of the smoothing of answers, seconds.
        hold: seconds that a change must last.
        drift_half_life: of the running mean of the distance, seconds.
        drift_level: running mean above which `drift` is reported, as a fraction of the largest accepted distance; it
            must also be `_RISE` times its smallest value after the first `drift_half_life` seconds.

    Attributes:
        drift: the running mean; None before the first frame with a distance.
    """

    def __init__(self, *, half_life: float, hold: float, drift_half_life: float, drift_level: float) -> None:
        self._known = Presence(half_life=half_life, hold=hold)
        self._drift_half_life, self._level = drift_half_life, drift_level
        self.drift: float | None = None
        self._least = inf
        self._began = self._time = 0.0
        self._since: float | None = None
        self._hold = hold
        self._answered_before = self._drifting = False

    @property
    def known(self) -> bool:
        """False from an event of an unanswered scene until `scene returned`."""
        return self._known.there

    def update(self, found: ClassResult, time: float, *, covered: bool, pan_seen: bool) -> list[Event]:
        """Take in the model's answer on a frame; return the new events.

        Args:
            found: the class label of this frame.
            time: seconds.
            covered: the image shows hardly any detail.
            pan_seen: the boxes or the mask show a pan; other events report its absence.
        """
        events = []
        # An arm or a lid over the pan gives the reason NO_PAN, which is ordinary cooking and not another scene.
        if covered or found["reason"] == UNLIKE or (pan_seen and found["answered"]):
            if self._known.update(seen=found["answered"], time=time):
                events.append(Event(self._name(covered=covered), time, self._known.confidence))
            # One that was answered for a moment only is an unknown scene, not a moved camera.
            self._since = (time if self._since is None else self._since) if found["answered"] else None
            self._answered_before |= self._since is not None and time - self._since >= self._hold
        if found["distance"] is not None and pan_seen and not covered:
            events += self._take_distance(found["distance"], time)
        return events

    def _name(self, *, covered: bool) -> str:
        if self._known.there:
            return SCENE_RETURNED
        if covered:
            return LENS_COVERED
        return CAMERA_MOVED if self._answered_before else UNKNOWN_SCENE

    def _take_distance(self, distance: float, time: float) -> list[Event]:
        """Update the running mean; it is reported only after `drift_half_life` seconds, when it is one."""
        value = min(distance, _MOST_DRIFT)
        if self.drift is None:
            self.drift, self._began = value, time
        else:
            self.drift += weight_of(time - self._time, self._drift_half_life) * (value - self.drift)
        self._time = time
        if time - self._began < self._drift_half_life:
            return []
        self._least = min(self._least, self.drift)
        level = max(self._level, _RISE * self._least)
        if self._drifting:
            self._drifting = self.drift > _RELEASE * level
        elif self.drift > level:
            self._drifting = True
            return [Event(DRIFT, time, min(self.drift, 1.0))]
        return []
