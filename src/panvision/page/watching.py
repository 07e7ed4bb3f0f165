"""Clips and cameras through a monitor: steadied results, states in time, events."""

import base64
import math
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from panvision.monitor.events import Event
from panvision.monitor.monitor import Monitor, Reading
from panvision.monitor.options import MonitorOptions
from panvision.monitor.sources import SourceError, video_module
from panvision.page.model import Controls, PageError, SharedModel
from panvision.page.view import data_url, describe, draw
from panvision.photos.pixels import RgbArray

if TYPE_CHECKING:
    from panvision.monitor.video import VideoCapture

CLIP_SECONDS = 60.0  # the part of a clip that is watched, from its start
CLIP_FPS = 10.0  # frames that are watched per second of a clip
VIDEO_SIDE = 640  # pixels of the longer side of a drawn video
PREVIEW_SECONDS = 0.4  # between two reports of the work in progress
CAMERA_SIDE = 960  # pixels of the longer side of a camera's drawn frame
PAUSE_SECONDS = 5.0  # without a frame, after which a camera's monitor is dropped
CAMERAS = 8  # watched at a time
EVENTS = 50  # kept, the newest

# The first bytes of the containers that are read: MP4 and MOV, AVI, Matroska and WebM. FFmpeg would also open
# playlists, which name other files and addresses.
_CONTAINERS = re.compile(rb".{4}(ftyp|moov|mdat|wide|free|skip)|RIFF.{4}AVI |\x1a\x45\xdf\xa3", re.DOTALL)


class Watcher:
    """A monitor of one pan with the half-life and margin of `controls`.

    Attributes:
        events: the newest events.
        steadying: half-life in seconds, and margin.
        time: of the newest frame, in seconds.
        last: when the newest frame was done; infinite while there is none, because a frame in work is not a pause.
        lock: held for each frame of a camera.
    """

    def __init__(self, model: SharedModel, controls: Controls) -> None:
        self.steadying = half_life, margin = controls.half_life, controls.margin
        options = MonitorOptions(
            half_life=half_life, margin=margin, order=model.info.state_order, costs=model.info.costs
        )
        self._model, self._monitor = model, Monitor(model.predictor, options)
        self._events: deque[Event] = deque(maxlen=EVENTS)
        self.time, self.last = -math.inf, math.inf
        self.lock = threading.Lock()

    @property
    def events(self) -> list[dict[str, Any]]:
        """The newest events as JSON values, in their order."""
        return [event.to_json() for event in self._events]

    def see(self, image: RgbArray, time: float, controls: Controls) -> Reading:
        """Predict a frame (H, W, 3) uint8 RGB of `time` seconds with the thresholds of `controls`, and steady it."""
        self.time = time
        reading = self._monitor.take(self._model.predict(image, controls), time, image)
        self._events.extend(reading.events)
        return reading


class Cameras:
    """The cameras of all visitors, each with its own monitor, which starts again after a pause or other steadying.

    Args:
        model: predicts the frames.
        clock: gives seconds.
    """

    def __init__(self, model: SharedModel, clock: Callable[[], float] = time.monotonic) -> None:
        self._model, self._clock = model, clock
        self._watchers: dict[str, Watcher] = {}
        self._lock = threading.Lock()

    def see(self, visitor: str, image: RgbArray, controls: Controls) -> dict[str, Any]:
        """Return what is known of a visitor's pan after a new frame (H, W, 3) uint8 RGB, as JSON values.

        They are those of `describe` for the steadied result, `decided` (the state, None before there is one), `events`,
        and `now`: the time on their clock.

        Raises:
            PageError: too many cameras are watched, or the model cannot process the frame.
        """
        watcher = self._watcher(visitor, controls)
        with watcher.lock:
            watcher.last = math.inf
            try:
                # The times of a monitor must rise, also if a clock is coarse.
                reading = watcher.see(image, max(self._clock(), watcher.time + 1e-6), controls)
            finally:
                watcher.last = self._clock()
            more = {"decided": reading.state, "events": watcher.events, "now": reading.time}
        return describe(image, reading.result, CAMERA_SIDE) | more

    def _watcher(self, visitor: str, controls: Controls) -> Watcher:
        with self._lock:
            now = self._clock()
            self._watchers = {name: one for name, one in self._watchers.items() if now - one.last <= PAUSE_SECONDS}
            found = self._watchers.get(visitor)
            if found is None and len(self._watchers) >= CAMERAS:
                raise PageError(f"{CAMERAS} cameras are watched already; stop another one first")
            if found is None or found.steadying != (controls.half_life, controls.margin):
                found = self._watchers[visitor] = Watcher(self._model, controls)
            return found


def watch_clip(model: SharedModel, path: Path, name: str, controls: Controls, folder: Path) -> Iterator[dict[str, Any]]:
    """Watch a video file and yield what is known now and then, as JSON values.

    Args:
        model: predicts the frames.
        path: the file.
        name: its name in messages.
        controls: values of the sliders.
        folder: receives the drawn video.

    Yields:
        `seconds` watched, `fraction` of the work that is done, `drawn` (the last frame as a data: URL), `states` as
        (start, end, name) in seconds, `events`. The last item has `video` (WebM in base64) and `note`, but not `drawn`.

    Raises:
        PageError: it is not a video that can be read, or OpenCV is not installed.
    """
    video, capture = _open(path, name)
    watcher, states, shown = Watcher(model, controls), [], time.monotonic()
    length = min(capture.seconds or CLIP_SECONDS, CLIP_SECONDS)
    try:
        with video.VideoFile(folder / "drawn.webm", min(capture.fps or CLIP_FPS, CLIP_FPS)) as out:
            for image, moment in _frames(capture):
                reading = watcher.see(image, moment, controls)
                frame = draw(image, reading.result, VIDEO_SIDE)
                out.write(frame, moment)
                states.append((moment, reading.state))
                if time.monotonic() - shown >= PREVIEW_SECONDS:
                    yield {**_story(watcher, states), "fraction": min(1.0, moment / length), "drawn": data_url(frame)}
                    shown = time.monotonic()
    finally:
        capture.close()
    if not states:
        raise PageError(f"{name}: has no frame that can be read; record or export it again")
    drawn = base64.b64encode((folder / "drawn.webm").read_bytes()).decode()
    yield {**_story(watcher, states), "fraction": 1.0, "note": _note(capture), "video": drawn}


def _open(path: Path, name: str) -> tuple[Any, "VideoCapture"]:
    """Return the module that reads videos, and the opened file."""
    with path.open("rb") as stream:
        if not _CONTAINERS.match(stream.read(12)):
            raise PageError(f"{name}: is not a video that can be read here; use MP4, MOV, MKV, WebM or AVI")
    if missing := missing_package():
        raise PageError(missing)
    try:
        return video_module(), video_module().open_file(path)
    except SourceError as error:
        raise PageError(f"{name}: is not a video that can be read; record or export it again") from error


def _frames(capture: "VideoCapture") -> Iterator[tuple[RgbArray, float]]:
    """Yield at most CLIP_FPS frames per second with their times, for CLIP_SECONDS."""
    last = -1
    while (found := capture.read()) is not None and found[1] < CLIP_SECONDS:
        # A quarter of a slot of tolerance, because times are rounded to milliseconds.
        slot = math.floor(found[1] * CLIP_FPS + 0.25)
        if slot > last:
            last = slot
            yield found


def _story(watcher: Watcher, states: Sequence[tuple[float, str | None]]) -> dict[str, Any]:
    """Return what happened so far: frames in a row with one state become one span of time."""
    step = states[1][0] - states[0][0] if len(states) > 1 else 1 / CLIP_FPS
    ends = [*(moment for moment, _ in states[1:]), states[-1][0] + step]
    spans: list[tuple[float, float, str | None]] = []
    for (moment, state), end in zip(states, ends, strict=True):
        start = spans.pop()[0] if spans and spans[-1][2] == state else moment
        spans.append((start, end, state))
    return {"seconds": states[-1][0], "states": spans, "events": watcher.events}


def _note(capture: "VideoCapture") -> str:
    """Return a remark on what was left out; empty if nothing was."""
    if capture.seconds > CLIP_SECONDS:
        return f"The clip is longer: its first {CLIP_SECONDS:.0f} seconds were watched."
    if capture.missing:
        return f"{capture.missing} frames of the clip could not be read: it is cut off or damaged."
    return ""


def missing_package() -> str:
    """Return why clips cannot be read, with the remedy; empty if they can."""
    try:
        video_module()
    except SourceError as error:
        return str(error)
    return ""
