"""A clip or a camera through a monitor: what happened, and frames to look at."""

import math
import re
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self
from uuid import uuid4

from panvision.monitor.events import Event
from panvision.monitor.monitor import Monitor, Reading
from panvision.monitor.options import MonitorOptions
from panvision.monitor.sources import SourceError, video_module
from panvision.page.model import Controls, PageError, SharedModel
from panvision.page.view import show
from panvision.photos.pixels import RgbArray

if TYPE_CHECKING:
    from panvision.monitor.video import VideoCapture

CLIP_SECONDS = 60.0  # of a clip are watched; the rest is not
CLIP_FPS = 10.0  # frames of a clip that are watched in a second
VIDEO_SIDE = 640  # pixels of the longer side of a drawn video
PREVIEW_SECONDS = 0.4  # between two looks at the work in progress
PAUSE_SECONDS = 5.0  # without a frame, after which a camera's watching starts anew
EVENTS = 50  # that are kept

# How the containers that are read begin: MP4 and MOV, AVI, Matroska and WebM. FFmpeg would also open play lists, which
# name other files and addresses.
_CONTAINERS = re.compile(rb".{4}(ftyp|moov|mdat|wide|free|skip)|RIFF.{4}AVI |\x1a\x45\xdf\xa3", re.DOTALL)


class Watcher:
    """One pan of one visitor: a monitor, and what it has reported.

    Args:
        model: predicts the frames.
        controls: half-life and margin of the monitor.
    """

    def __init__(self, model: SharedModel, controls: Controls) -> None:
        self._model = model
        self.controls = controls
        options = MonitorOptions(
            half_life=controls.half_life, margin=controls.margin, order=tuple(model.info.state_order)
        )
        self._monitor = Monitor(model.predictor, options)
        self.events: deque[Event] = deque(maxlen=EVENTS)
        self.last: float | None = None

    def see(self, image: RgbArray, time: float, controls: Controls | None = None) -> Reading:
        """Predict a frame (H, W, 3) uint8 RGB and take it in; thresholds of `controls` hold from here on."""
        raw = self._model.predict(image, controls or self.controls)
        reading = self._monitor.take(raw, time)
        self.events.extend(reading.events)
        self.last = time
        return reading


def watch_camera(
    model: SharedModel, watcher: Watcher | None, image: RgbArray, controls: Controls, now: float
) -> tuple[Watcher, Reading]:
    """One frame of a camera; a visitor's watching starts anew with other steadying, and after a pause.

    Args:
        model: predicts.
        watcher: of the frame before; None at the start.
        image: (H, W, 3) uint8 RGB.
        controls: what the sliders say now.
        now: seconds on a clock that never goes back.
    """
    steady = (controls.half_life, controls.margin)
    if (
        watcher is None
        or watcher.last is None
        or now - watcher.last > PAUSE_SECONDS
        or steady != (watcher.controls.half_life, watcher.controls.margin)
    ):
        watcher = Watcher(model, controls)
    elif now <= watcher.last:
        now = watcher.last + 1e-6  # a clock may be coarse
    return watcher, watcher.see(image, now, controls)


@dataclass(frozen=True)
class ClipSeen:
    """A clip as far as it has been watched.

    Attributes:
        seconds: how much of it.
        share: of what will be watched, 0 to 1.
        frame: the last one, drawn; (h, w, 3) uint8 RGB.
        events: what happened.
        states: time of each frame and its state.
        video: the drawn video, once it is whole.
        cut: whether the clip goes on after what is watched.
        missing: frames that the clip's head names and that could not be read.
    """

    seconds: float = 0.0
    share: float = 0.0
    frame: RgbArray | None = None
    events: tuple[Event, ...] = ()
    states: tuple[tuple[float, str | None], ...] = ()
    video: Path | None = None
    cut: bool = False
    missing: int = 0

    def gone_on(self, reading: Reading, frame: RgbArray, length: float, events: tuple[Event, ...]) -> Self:
        """The same with one more frame; `length` is the clip's in seconds, 0 if nobody knows."""
        return replace(
            self,
            seconds=reading.time,
            share=min(1.0, reading.time / min(length or CLIP_SECONDS, CLIP_SECONDS)),
            frame=frame,
            events=events,
            states=(*self.states, (reading.time, reading.state)),
            cut=length > CLIP_SECONDS,
        )


def watch_clip(
    model: SharedModel, path: str | Path, name: str, controls: Controls, folder: str | Path
) -> Iterator[ClipSeen]:
    """Watch a video file; gives what is known now and then, and in the end all with the drawn video.

    Args:
        model: predicts the frames.
        path: the file.
        name: what the visitor calls it.
        controls: thresholds and steadying.
        folder: receives the drawn video.

    Raises:
        PageError: it is no video that can be read, or OpenCV is not installed.
    """
    _check_container(Path(path), name)
    try:
        video = video_module()
    except SourceError as error:
        raise PageError(str(error)) from error
    try:
        capture = video.open_file(path)
    except SourceError as error:
        raise PageError(f"{name}: is no video that can be read; is it whole?") from error
    watcher = Watcher(model, controls)
    drawn = Path(folder) / f"{uuid4().hex}.webm"
    seen, shown = ClipSeen(), time.monotonic()
    try:
        with video.VideoFile(drawn, min(capture.fps or CLIP_FPS, CLIP_FPS)) as out:
            for image, moment in _frames(capture):
                reading = watcher.see(image, moment)
                frame = show(image, reading.result, VIDEO_SIDE)
                out.write(frame, moment)
                seen = seen.gone_on(reading, frame, capture.seconds, tuple(watcher.events))
                if time.monotonic() - shown >= PREVIEW_SECONDS:
                    yield seen
                    shown = time.monotonic()
    finally:
        capture.close()
    if seen.frame is None:
        raise PageError(f"{name}: has no frame that can be read")
    yield replace(seen, share=1.0, video=drawn, missing=0 if seen.cut else capture.missing)


def _frames(capture: "VideoCapture") -> Iterator[tuple[RgbArray, float]]:
    """At most CLIP_FPS frames of each second with their times, for CLIP_SECONDS."""
    last = -1
    while (found := capture.read()) is not None and found[1] < CLIP_SECONDS:
        # A quarter of a slot of leave: times come rounded to milliseconds.
        slot = math.floor(found[1] * CLIP_FPS + 0.25)
        if slot > last:
            last = slot
            yield found


def _check_container(path: Path, name: str) -> None:
    """Raise PageError unless a file begins like a video."""
    try:
        with path.open("rb") as stream:
            start = stream.read(12)
    except OSError as error:
        raise PageError(f"{name}: is no longer here; drop it again") from error
    if not _CONTAINERS.match(start):
        raise PageError(f"{name}: is no video that is read here; MP4, MOV, MKV, WebM and AVI are")


def can_read_clips() -> str:
    """Empty, or why video files cannot be read, and what helps."""
    try:
        video_module()
    except SourceError as error:
        return str(error)
    return ""
