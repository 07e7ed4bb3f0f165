import threading

import pytest

from panvision.monitor import Monitor, MonitorOptions
from panvision.monitor.errors import SourceError
from panvision.monitor.feeds import LiveFeed, RecordingFeed
from panvision.monitor.watch import open_feed, watch
from tests.monitor.fakes import BOTH, FakeCapture, FakeClock, FakePredictor, said, source, stopped_after


def live(*openings, clock=None, **options):
    return LiveFeed(source(*openings), clock or FakeClock(), threading.Event(), **options)


def level(shot):
    return None if shot is None else int(shot.image[0, 0, 0])


def test_the_newest_frame_is_taken_others_are_counted():
    clock = FakeClock()
    feed = live(FakeCapture([1, 2, 3, 4], clock), clock=clock)
    assert feed.next(0) is None
    for _ in range(3):
        feed.step()
    shot = feed.next(0)
    assert (level(shot), feed.dropped) == (3, 2) and shot.time == pytest.approx(1000.3)
    assert feed.next(0) is None
    feed.step()
    assert (level(feed.next(0)), feed.dropped) == (4, 2)


def test_a_lost_source_is_reopened_with_growing_waits():
    clock = FakeClock()
    first, second = FakeCapture([1], clock), FakeCapture([2], clock)
    feed = live(first, None, None, second, None, clock=clock)
    for _ in range(2):
        feed.step()
    assert first.closed and level(feed.next(0)) == 1 and not feed.ended
    for _ in range(3):
        feed.step()
    assert clock.waits == [0.5, 1.0, 2.0] and level(feed.next(0)) == 2
    # After a success the waits restart; they grow to half a minute.
    for _ in range(10):
        feed.step()
    assert clock.waits[3:6] == [0.5, 1.0, 2.0] and max(clock.waits) == clock.waits[-1] == 30.0


def test_a_source_that_cannot_be_opened_is_an_error():
    with pytest.raises(SourceError, match="cannot be opened"):
        live(None)


def test_times_rise_with_a_stopped_clock():
    feed = live(FakeCapture([1, 2]))
    times = []
    for _ in range(2):
        feed.step()
        times.append(feed.next(0).time)
    assert times[0] < times[1]


def test_a_played_recording_keeps_its_times_and_ends():
    clock = FakeClock()
    feed = live(FakeCapture([1, 2], clock), clock=clock, reopen=False, own_time=True)
    assert feed.now() == 0.0  # before the first frame
    feed.step()
    assert feed.next(0).time == pytest.approx(0.0, abs=1e-5)
    clock.now += 3
    assert feed.now() == pytest.approx(3.0)
    feed.step()
    feed.step()
    assert not feed.ended  # its last frame waits
    assert feed.next(0).time == pytest.approx(0.1) and feed.ended


def test_an_error_of_the_thread_is_raised_by_next():
    class Broken(FakeCapture):
        def read(self):
            raise RuntimeError("driver")

    with live(Broken([])) as feed, pytest.raises(RuntimeError, match="driver"):
        feed.next(5)


def test_the_thread_ends_with_the_context():
    capture = FakeCapture(range(200), None)
    with live(capture, clock=FakeClock()) as feed:
        shot = feed.next(5)
        assert shot is not None
    assert "panvision-feed" not in {thread.name for thread in threading.enumerate()} and capture.closed


def test_every_frame_of_a_recording_is_watched():
    capture = FakeCapture(range(30))
    lines = []
    with open_feed(source_of(capture), FakeClock(), threading.Event()) as feed:
        assert isinstance(feed, RecordingFeed)
        monitor = Monitor(FakePredictor(lambda image: said("raw", boxes=BOTH)))
        done = watch(feed, monitor, threading.Event(), on_event=lambda event: lines.append(event.to_json()))
    assert (done.frames, done.dropped, capture.closed) == (30, 0, True)
    assert [line["event"] for line in lines] == ["state changed"]
    assert lines[0]["time"] == pytest.approx(0.5)


def source_of(capture):
    from panvision.monitor.sources import Source

    return Source("fake", live=False, open=lambda: capture, recorded=True)


class Steps:
    """A live feed that makes one step before each frame instead of running a thread."""

    def __init__(self, feed):
        self.feed = feed

    def next(self, timeout):
        self.feed.step()
        return self.feed.next(0)

    def __getattr__(self, name):
        return getattr(self.feed, name)


def test_a_source_lost_and_returned_is_two_events():
    clock, stop, lines = FakeClock(), threading.Event(), []
    feed = live(FakeCapture([1] * 20, clock), *[None] * 4, FakeCapture([2] * 20, clock), clock=clock)
    monitor = Monitor(FakePredictor(), MonitorOptions(lost_after=5))

    def note(event):
        lines.append(event)
        if event.event == "source returned":
            stop.set()

    watch(Steps(feed), monitor, stop, on_event=note)
    assert [event.event for event in lines] == ["state changed", "source lost", "source returned"]
    assert lines[1].time - 1002.0 == pytest.approx(7.5)  # the wait in which five seconds were over
    assert lines[2].time - 1002.0 == pytest.approx(15.6)


def test_watch_stops_on_request():
    stop = threading.Event()
    monitor = Monitor(FakePredictor())
    done = watch(RecordingFeed(FakeCapture(range(100))), monitor, stop, on_reading=stopped_after(stop, 3))
    assert done.frames == 3
    done = watch(RecordingFeed(FakeCapture(range(100))), Monitor(FakePredictor()), threading.Event(), max_frames=7)
    assert done.frames == 7
