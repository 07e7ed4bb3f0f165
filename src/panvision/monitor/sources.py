"""Sources of frames: a growing folder here, cameras and videos in `video`."""

import os
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Protocol

from panvision.monitor.errors import SourceError
from panvision.photos.pixels import IMAGE_SUFFIXES, ImageError, RgbArray, read_image

POLL_SECONDS = 0.2
BACK_OFF_SECONDS = (0.5, 30.0)  # the first and the longest wait before a lost source is reopened
TRIES = 5  # of reading a new image: a file system's clock is too coarse to show that the last bytes have come

_Key = tuple[int, str]  # time of change in nanoseconds, and name


class SystemClock:
    """The machine's clock at the start, continued monotonically: later corrections of the clock do not affect it.

    Args:
        stop: ends a wait when it is set.
    """

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._offset = time.time() - time.monotonic()

    def time(self) -> float:
        """Return the seconds since 1970."""
        return self._offset + time.monotonic()

    def wait(self, seconds: float) -> None:
        """Wait until the time is over or `stop` is set."""
        self._stop.wait(seconds)


@dataclass(frozen=True)
class Shot:
    """A frame (H, W, 3) uint8 RGB, and its time in seconds."""

    image: RgbArray
    time: float


class Capture(Protocol):
    """An opened source.

    Attributes:
        fps: its frames per second; 0 if they are not even.
    """

    fps: float

    @property
    def skipped(self) -> int:
        """Frames skipped so far because newer ones had come."""
        ...

    @property
    def missing(self) -> int:
        """Frames that a recording should have and that were not read so far; 0 where this is unknown."""
        ...

    def read(self) -> tuple[RgbArray, float] | None:
        """Wait for the next frame (H, W, 3) uint8 RGB and its time; None: the source has ended or is lost."""
        ...

    def close(self) -> None:
        """Release the source."""
        ...


@dataclass(frozen=True)
class Source:
    """A source that can be watched.

    Attributes:
        name: for messages.
        live: frames come whether or not they are taken.
        open: opens it; raises SourceError.
        recorded: it has an end, and its frames have their own times; else it is reopened when it is lost.
    """

    name: str
    live: bool
    open: Callable[[], Capture]
    recorded: bool = False


def find_source(text: str, clock: SystemClock, stop: threading.Event, *, realtime: bool = False) -> Source:
    """Find the source that a text names: a camera's number or device, a folder, a video file or a stream's address.

    Args:
        text: the user's text.
        clock: of live sources.
        stop: ends the wait for a new image in a folder.
        realtime: play a video file at its own pace, as if it were a camera.

    Raises:
        SourceError: it is none of these.
    """
    if Path(text).is_dir():
        return Source(text, live=True, open=lambda: DirectoryCapture(text, clock, stop))
    # OpenCV is imported only for cameras and videos.
    if text.isdecimal():
        return Source(f"camera {int(text)}", live=True, open=lambda: video_module().open_camera(int(text)))
    if "://" in text:
        name = re.sub(r"//[^/@]*@", "//", text)  # without name and password
        return Source(name, live=True, open=lambda: video_module().open_stream(text, name))
    # By-id links of a camera lead to the number that it has at present. OpenCV opens no camera by its path.
    if (device := re.fullmatch(r"/dev/video(\d+)", str(Path(text).resolve()))) and Path(text).exists():
        return Source(text, live=True, open=lambda: video_module().open_camera(int(device[1]), text))
    if not Path(text).is_file():
        fault = "neither a file, a folder nor a camera" if Path(text).exists() else "no such file or folder"
        raise SourceError(
            f"{text}: {fault}; give a camera's number or device (/dev/video0), a video file, a folder, or an address "
            "like rtsp://camera/stream"
        )
    if realtime:
        return Source(text, live=True, open=lambda: PacedCapture(video_module().open_file(text), clock), recorded=True)
    return Source(text, live=False, open=lambda: video_module().open_file(text), recorded=True)


def video_module() -> ModuleType:
    """Import `panvision.monitor.video`, which needs OpenCV.

    Raises:
        SourceError: OpenCV is not installed.
    """
    try:
        from panvision.monitor import video
    except ModuleNotFoundError as error:
        raise SourceError(
            f"cameras and videos need the package {error.name}, which is not installed; "
            "`pip install '.[video]'` in panvision's repository (a folder of images is watched without it)"
        ) from error
    return video


class DirectoryCapture:
    """A folder into which images are written: always the newest one that has not been read.

    The newest by inode change time, so that an image that is moved or copied here with an old date counts as new. An
    image that is still being written cannot be decoded; it is read again when it changes. Memory does not grow with
    the folder.

    Args:
        path: the folder; its subfolders and hidden files are not read.
        clock: waits between two scans of the folder.
        stop: ends the wait for an image.

    Raises:
        SourceError: no such folder.
    """

    def __init__(self, path: str | Path, clock: SystemClock, stop: threading.Event) -> None:
        self._path, self._clock, self._stop = Path(path), clock, stop
        if not self._path.is_dir():
            raise SourceError(f"{path}: no such folder")
        self._last: _Key | None = None
        self._unreadable: tuple[_Key, int] | None = None
        self.skipped = self.missing = 0
        self.fps = 0.0

    def read(self) -> tuple[RgbArray, float] | None:
        """Return the newest image; None when the folder is gone or `stop` is set."""
        while not self._stop.is_set():
            try:
                fresh = self._fresh()
            except OSError:
                return None
            # At the start only the newest counts; the folder may hold years of images.
            passed = len(fresh) - 1 if self._last is not None else 0
            for number, (key, path) in enumerate(fresh):
                try:
                    image = read_image(path)
                except ImageError:
                    continue  # half-written or broken
                self._last = key
                self.skipped += max(0, passed - number)
                return image, key[0] / 1e9
            if fresh:
                self._give_up_some_time(fresh[0][0])
            self._clock.wait(POLL_SECONDS)
        return None

    def _give_up_some_time(self, newest: _Key) -> None:
        """Count a failed attempt to read the new images; after some they are skipped."""
        tries = self._unreadable[1] + 1 if self._unreadable and self._unreadable[0] == newest else 1
        self._unreadable = (newest, tries)
        if tries >= TRIES:
            self._last = newest

    def _fresh(self) -> list[tuple[_Key, Path]]:
        """Return the images changed since the last one was read, the newest first."""
        found = []
        with os.scandir(self._path) as entries:
            for entry in entries:
                if entry.name.startswith(".") or Path(entry.name).suffix.lower() not in IMAGE_SUFFIXES:
                    continue
                try:
                    key = (entry.stat().st_ctime_ns, entry.name)
                except FileNotFoundError:
                    continue  # removed just now
                if self._last is None or key > self._last:
                    found.append((key, Path(entry.path)))
        return sorted(found, reverse=True)

    def close(self) -> None:
        """Do nothing: no file is held open."""


class PacedCapture:
    """A recording played at its own pace.

    Args:
        recording: an opened video file.
        clock: keeps the pace.
    """

    skipped = 0

    def __init__(self, recording: Capture, clock: SystemClock) -> None:
        self._recording, self._clock = recording, clock
        self.fps = recording.fps
        self._start: float | None = None

    @property
    def missing(self) -> int:
        """Frames that the recording lacks."""
        return self._recording.missing

    def read(self) -> tuple[RgbArray, float] | None:
        """Return the next frame at its time."""
        found = self._recording.read()
        if found is None:
            return None
        if self._start is None:
            self._start = self._clock.time() - found[1]
        early = self._start + found[1] - self._clock.time()
        if early > 0:
            self._clock.wait(early)
        return found

    def close(self) -> None:
        """Close the recording."""
        self._recording.close()
