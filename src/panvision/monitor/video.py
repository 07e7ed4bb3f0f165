"""Cameras, streams and video files through OpenCV, which only this module of the room imports."""

import contextlib
import math
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import cv2

from panvision.monitor.errors import SourceError
from panvision.photos.pixels import RgbArray

# FFmpeg would print messages beside the one error that is raised here; set another level to see them.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

# FFmpeg would wait half a minute for a silent stream.
TIMEOUT_MS = 5000
LIVE_FPS = 10.0
MAX_FPS = 240.0
# Encoder of each container. Browsers play only .webm of these.
CODECS = {".mp4": "mp4v", ".avi": "MJPG", ".mkv": "mp4v", ".webm": "VP80"}


class VideoCapture:
    """An opened camera, stream or file.

    Args:
        capture: OpenCV's.

    Attributes:
        fps: frames per second; 0 if they are not even.
        skipped: 0: every frame is read.
    """

    skipped = 0

    def __init__(self, capture: Any) -> None:
        self._capture = capture
        fps = float(capture.get(cv2.CAP_PROP_FPS))
        self.fps = fps if math.isfinite(fps) and 0 < fps <= MAX_FPS else 0.0
        self._last = -math.inf
        named = float(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self._named = int(named) if math.isfinite(named) and named > 0 else 0
        self._read = 0

    @property
    def missing(self) -> int:
        """Frames that the file's header declares and that were not read so far; 0 where this is unknown.

        Some containers only have their length, which gives the number of frames within about 1 %: fewer are not
        reported as missing.
        """
        missing = self._named - self._read
        return missing if missing > 1 + self._named // 100 else 0

    @property
    def seconds(self) -> float:
        """Length according to the file's header; 0 where this is unknown."""
        return self._named / self.fps if self.fps else 0.0

    def read(self) -> tuple[RgbArray, float] | None:
        """Return the next frame and its time from the start in seconds; times rise even where the file's do not."""
        got, frame = self._capture.read()
        if not got or frame is None:
            return None
        self._read += 1
        time = float(self._capture.get(cv2.CAP_PROP_POS_MSEC)) / 1000
        if not math.isfinite(time) or time <= self._last:
            time = self._last + 1 / (self.fps or LIVE_FPS) if math.isfinite(self._last) else 0.0
        self._last = time
        return cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), time

    def close(self) -> None:
        """Release the capture."""
        self._capture.release()


def open_camera(number: int, name: str = "") -> VideoCapture:
    """Open the machine's camera of this number, from 0; messages call it `name`, by default by its number.

    Raises:
        SourceError: it cannot be opened.
    """
    question = "is it connected, and not in use by another program?"
    return _open(name or f"camera {number}", question, number)


def open_stream(address: str, name: str) -> VideoCapture:
    """Open a stream by its address; messages call it `name`.

    Raises:
        SourceError: it cannot be opened.
    """
    timeouts = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, TIMEOUT_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, TIMEOUT_MS]
    return _open(name, "is the address right, and the camera on?", address, cv2.CAP_FFMPEG, timeouts)


def open_file(path: str | Path) -> VideoCapture:
    """Open a video file.

    Raises:
        SourceError: this OpenCV cannot decode it.
    """
    return _open(str(path), "is it a complete video file? `ffmpeg -i` shows its content", str(path))


def _open(name: str, question: str, *arguments: object) -> VideoCapture:
    # OpenCV prints its own messages, too.
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        capture = cv2.VideoCapture(*arguments)
    finally:
        cv2.utils.logging.setLogLevel(level)
    if not capture.isOpened():
        raise SourceError(f"{name}: cannot be opened; {question}")
    return VideoCapture(capture)


@contextlib.contextmanager
def _silent_stderr() -> Iterator[None]:
    """Discard standard error inside the block: OpenCV always prints there that WebM has no codec tags."""
    try:
        kept = os.dup(2)
    except OSError:  # there is none
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


class VideoFile:
    """Writes frames with their times as a video of constant rate, which appears under its name when it is complete.

    A frame is repeated until the next one's time, and left out if the next one has the same slot; a gap longer than
    `longest_gap` seconds is cut. Use it as a context: after an error nothing is left behind.

    Args:
        path: .mp4, .avi, .mkv or .webm.
        fps: frames per second of the video.
        longest_gap: seconds.

    Raises:
        SourceError: another suffix, or a video that this OpenCV cannot write.
    """

    def __init__(self, path: str | Path, fps: float, *, longest_gap: float = 5.0) -> None:
        self._path = Path(path)
        if self._path.suffix.lower() not in CODECS:
            raise SourceError(f"{path}: not a supported video name; end it in {', '.join(CODECS)}")
        self._fps, self._most = fps, max(1, round(longest_gap * fps))
        self._writer: Any = None
        self._start = 0.0
        self._written = 0
        self._size = (0, 0)

    def write(self, image: RgbArray, time: float) -> None:
        """Add a frame (H, W, 3) uint8 RGB of this time in seconds; all get the size of the first."""
        if self._writer is None:
            self._begin(image, time)
        # Half a slot of tolerance: times are rounded to milliseconds.
        due = math.floor((time - self._start) * self._fps + 0.5) + 1 - self._written
        if due > self._most:
            self._start += (due - 1) / self._fps
            due = 1
        if due < 1:
            return
        frame = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        if frame.shape[1::-1] != self._size:
            frame = cv2.resize(frame, self._size, interpolation=cv2.INTER_AREA)
        for _ in range(due):
            self._writer.write(frame)
        self._written += due

    def _begin(self, image: RgbArray, time: float) -> None:
        codec = cv2.VideoWriter.fourcc(*CODECS[self._path.suffix.lower()])
        # Encoders need even sides.
        self._size = (max(2, image.shape[1] // 2 * 2), max(2, image.shape[0] // 2 * 2))
        with _silent_stderr():
            self._writer = cv2.VideoWriter(str(self._scratch), codec, self._fps, self._size)
        if not self._writer.isOpened():
            raise SourceError(f"{self._path}: this OpenCV cannot write such a video; use a name that ends in .avi")
        self._start = time

    def __enter__(self) -> Self:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        # The suffix stays: OpenCV chooses the container by it.
        handle, name = tempfile.mkstemp(".partial" + self._path.suffix, f".{self._path.name}.", self._path.parent)
        os.close(handle)
        self._scratch = Path(name)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._writer is not None:
                self._writer.release()
                if kind is None:
                    self._scratch.chmod(0o644)
                    self._scratch.replace(self._path)
        finally:
            self._scratch.unlink(missing_ok=True)
