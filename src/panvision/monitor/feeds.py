"""Feeds from a source to the monitor: every frame of a recording, the newest frame of a live source."""

import threading
from types import TracebackType
from typing import Self

from panvision.monitor.errors import SourceError
from panvision.monitor.sources import BACK_OFF_SECONDS, Capture, Shot, Source, SystemClock


class RecordingFeed:
    """Every frame of a recording, at the pace of the consumer.

    Args:
        capture: the opened recording; the feed closes it.
    """

    dropped = missing = 0

    def __init__(self, capture: Capture) -> None:
        self._capture = capture
        self.fps = capture.fps
        self.ended = False
        self._time = 0.0

    def next(self, timeout: float) -> Shot | None:
        """Return the next frame with its time in the recording; None at the end."""
        found = self._capture.read()
        if found is None:
            self.ended, self.missing = True, self._capture.missing
            return None
        self._time = found[1]
        return Shot(*found)

    def now(self) -> float:
        """Return the last frame's time."""
        return self._time

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._capture.close()


class LiveFeed:
    """The newest frame of a live source. A thread reads it and keeps one frame, so that memory stays constant.

    A lost source is reopened, after waits that double from half a second to half a minute.

    Args:
        source: what to watch; opened at once.
        clock: gives frames their times.
        stop: ends the thread.
        reopen: False: a source without further frames has ended, like a recording played at its own pace.
        own_time: frames keep the source's times; else they get the clock's.

    Raises:
        SourceError: the source cannot be opened the first time.
    """

    def __init__(
        self, source: Source, clock: SystemClock, stop: threading.Event, *, reopen: bool = True, own_time: bool = False
    ) -> None:
        self._source, self._clock, self._stop = source, clock, stop
        self._reopen, self._own_time = reopen, own_time
        self._capture: Capture | None = source.open()
        self.fps = self._capture.fps
        self._fresh = threading.Condition()
        self._shot: Shot | None = None
        self._over = False
        self._failure: Exception | None = None
        self._passed = self._passed_before = self.missing = 0
        self._wait = BACK_OFF_SECONDS[0]
        self._offset = clock.time() if own_time else 0.0
        self._last = 0.0
        self._thread = threading.Thread(target=self._run, name="panvision-feed", daemon=True)

    @property
    def ended(self) -> bool:
        """True if the source has ended and its last frame is taken."""
        with self._fresh:
            return self._over and self._shot is None

    @property
    def dropped(self) -> int:
        """Frames that were replaced by newer ones before they were taken."""
        with self._fresh:
            return self._passed

    def next(self, timeout: float) -> Shot | None:
        """Return the newest frame that has not been taken.

        Raises:
            Exception: the error of the thread that reads the source.
        """
        with self._fresh:
            self._fresh.wait_for(lambda: self._shot is not None or self._over, timeout)
            shot, self._shot = self._shot, None
            if self._failure is not None:
                raise self._failure
            return shot

    def now(self) -> float:
        """Return the present time on the clock of the frames."""
        return self._clock.time() - self._offset

    def step(self) -> None:
        """Read one frame, or try once to reopen the source. The thread repeats this."""
        if self._capture is None:
            self._clock.wait(self._wait)
            self._wait = min(2 * self._wait, BACK_OFF_SECONDS[1])
            if self._stop.is_set():
                return
            try:
                self._capture = self._source.open()
            except SourceError:
                return
        found = self._capture.read()
        if found is not None:
            self._wait = BACK_OFF_SECONDS[0]
            self._put(found)
            return
        self._passed_before += self._capture.skipped
        self.missing = 0 if self._reopen else self._capture.missing
        self._capture.close()
        self._capture = None
        if not self._reopen:
            self._finish(None)

    def _put(self, found: tuple) -> None:
        image, own = found
        now = self._clock.time()
        if self._own_time:
            self._offset = now - own
        # Times rise even where the clock is too coarse.
        self._last = max(own if self._own_time else now, self._last + 1e-6)
        with self._fresh:
            self._passed_before += self._shot is not None
            self._passed = self._passed_before + (self._capture.skipped if self._capture else 0)
            self._shot = Shot(image, self._last)
            self._fresh.notify()

    def _finish(self, failure: Exception | None) -> None:
        with self._fresh:
            self._over, self._failure = True, failure
            self._fresh.notify()

    def _run(self) -> None:
        try:
            while not self._stop.is_set() and not self._over:
                self.step()
            self._finish(None)
        except Exception as error:
            # Raised in the thread that waits in `next`.
            self._finish(error)

    def start(self) -> Self:
        """Start reading."""
        self._thread.start()
        return self

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        # The driver of a dead camera may block its reader for long.
        self._thread.join(timeout=2.0)
        if not self._thread.is_alive() and self._capture is not None:
            self._capture.close()


# Both give frames with rising times.
Feed = RecordingFeed | LiveFeed
