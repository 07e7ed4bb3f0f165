"""From a source to the monitor: every frame of a recording, the newest frame of what is live."""

import threading
from types import TracebackType
from typing import Protocol, Self

from panvision.monitor.sources import BACK_OFF_SECONDS, Capture, Clock, Shot, Source, SourceError


class Feed(Protocol):
    """Frames with times that rise."""

    @property
    def ended(self) -> bool:
        """Whether no more will come."""
        ...

    @property
    def dropped(self) -> int:
        """Frames so far that were passed over because newer ones were there."""
        ...

    @property
    def missing(self) -> int:
        """At a recording's end: frames that it should have had."""
        ...

    def next(self, timeout: float) -> Shot | None:
        """The next frame, or None if there is none within so many seconds."""
        ...

    def now(self) -> float:
        """The present time on the clock of the frames, in seconds."""
        ...


class RecordingFeed:
    """Every frame of a recording, at the pace of whoever takes them.

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
        """The next frame with its time in the recording; None at the end."""
        found = self._capture.read()
        if found is None:
            self.ended, self.missing = True, self._capture.missing
            return None
        self._time = found[1]
        return Shot(*found)

    def now(self) -> float:
        """The last frame's time."""
        return self._time

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._capture.close()


class LiveFeed:
    """The newest frame of a live source. A thread reads it and keeps one frame, so that nothing piles up.

    A source that is lost is opened again and again, after waits that double from half a second to half a minute.

    Args:
        source: what to watch; opened at once.
        clock: gives frames their times.
        stop: ends the thread.
        reopen: False: a source that gives no more has ended, as a recording played at its own pace.
        own_time: frames keep the source's times; else they get the clock's.

    Raises:
        SourceError: the source cannot be opened the first time.
    """

    def __init__(
        self, source: Source, clock: Clock, stop: threading.Event, *, reopen: bool = True, own_time: bool = False
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
        """Whether the source has ended and its last frame is taken."""
        with self._fresh:
            return self._over and self._shot is None

    @property
    def dropped(self) -> int:
        """Frames that nobody took before a newer one came."""
        with self._fresh:
            return self._passed

    def next(self, timeout: float) -> Shot | None:
        """The newest frame that has not been taken.

        Raises:
            Exception: whatever went wrong in the thread that reads the source.
        """
        with self._fresh:
            self._fresh.wait_for(lambda: self._shot is not None or self._over, timeout)
            shot, self._shot = self._shot, None
            if self._failure is not None:
                raise self._failure
            return shot

    def now(self) -> float:
        """The clock's time, or where the frames keep their own, what that has come to."""
        return self._clock.time() - self._offset

    def step(self) -> None:
        """Read one frame, or make one attempt to get the source back. What the thread does over and over."""
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
        # Whatever the clock's grain, times rise.
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
            # Handed on to the thread that waits in `next`.
            self._finish(error)

    def start(self) -> Self:
        """Begin to read."""
        self._thread.start()
        return self

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        # A camera that has died may hold its reader for as long as its driver likes; do not wait for that.
        self._thread.join(timeout=2.0)
        if not self._thread.is_alive() and self._capture is not None:
            self._capture.close()
