"""The loop: frames from a feed through a monitor, until the source ends or `stop` is set."""

import threading
from collections.abc import Callable
from dataclasses import dataclass

from panvision.monitor.events import Event
from panvision.monitor.feeds import Feed, LiveFeed, RecordingFeed
from panvision.monitor.monitor import Monitor, Reading
from panvision.monitor.sources import Shot, Source, SystemClock

# Delay until a stop or a lost source is noticed.
WAIT_SECONDS = 0.25


@dataclass(frozen=True)
class Watched:
    """The counts of a run.

    Attributes:
        frames: watched.
        dropped: skipped because newer ones had come.
        missing: absent from a recording that was watched to its end.
    """

    frames: int
    dropped: int
    missing: int


def open_feed(source: Source, clock: SystemClock, stop: threading.Event) -> Feed:
    """Open the feed for a source; use it as a context.

    Raises:
        SourceError: the source cannot be opened.
    """
    if not source.live:
        return RecordingFeed(source.open())
    return LiveFeed(source, clock, stop, reopen=not source.recorded, own_time=source.recorded)


def watch(
    feed: Feed,
    monitor: Monitor,
    stop: threading.Event,
    *,
    on_reading: Callable[[Shot, Reading], None] | None = None,
    on_event: Callable[[Event], None] | None = None,
    max_frames: int | None = None,
) -> Watched:
    """Watch until the feed ends, `stop` is set, or `max_frames` frames are watched. Memory stays constant.

    Args:
        feed: an opened feed.
        monitor: takes the frames.
        stop: ends the loop; set from another thread or a signal handler.
        on_reading: called with each frame and its reading.
        on_event: called with each event, before `on_reading`.
        max_frames: None: no limit.
    """
    frames = 0
    while not stop.is_set() and not feed.ended and (max_frames is None or frames < max_frames):
        shot = feed.next(WAIT_SECONDS)
        if shot is None:
            events: tuple[Event, ...] = () if feed.ended else monitor.idle(feed.now())
        else:
            reading = monitor.see(shot.image, shot.time)
            events, frames = reading.events, frames + 1
        for event in events:
            if on_event is not None:
                on_event(event)
        if shot is not None and on_reading is not None:
            on_reading(shot, reading)
    return Watched(frames, feed.dropped, feed.missing)
