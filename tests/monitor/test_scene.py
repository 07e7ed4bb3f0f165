import numpy as np
import pytest

from panvision.monitor import Monitor, MonitorOptions
from panvision.monitor.scene import is_covered
from tests.monitor.fakes import BOTH, STIRRER, FakePredictor, said

OPTIONS = MonitorOptions(half_life=0.5, missing_after=1.0, drift_half_life=5.0)
UNLIKE = "unlike the training images"
DETAIL = np.random.default_rng(0).integers(0, 2, (24, 32, 1), np.uint8).repeat(10, 0).repeat(10, 1).repeat(3, 2) * 200
DARK = np.full((240, 320, 3), 9, np.uint8)


def take(watcher, seconds, *, start=0.0, image=DETAIL, **known):
    """Return the events' names and the last reading while the model's answer stays the same."""
    events = []
    for number in range(round(seconds * 10)):
        reading = watcher.take(said(**known), start + number * 0.1, image)
        events += [event.event for event in reading.events]
    return events, reading


def test_a_covered_lens_is_reported_and_nothing_else_is_missing() -> None:
    watcher = Monitor(FakePredictor(), OPTIONS)
    assert take(watcher, 3, state="raw", boxes=BOTH)[0] == ["state changed"]
    events, reading = take(watcher, 5, start=3.1, state="burnt", reason="no pan", image=DARK)
    assert events == ["lens covered"] and reading.state is None
    assert not reading.result["classification"]["answered"]
    events, reading = take(watcher, 5, start=8.2, state="golden", boxes=BOTH)
    assert events == ["scene returned", "state changed"] and reading.state == "golden"


def test_a_moved_camera_was_answered_before() -> None:
    watcher = Monitor(FakePredictor(), OPTIONS)
    take(watcher, 3, state="raw", boxes=BOTH)
    assert take(watcher, 5, start=3, state="raw", boxes=BOTH, reason=UNLIKE)[0] == ["camera moved"]


@pytest.mark.parametrize("answered", [0.0, 0.3])
def test_a_scene_that_was_never_answered_is_unknown(answered) -> None:
    watcher = Monitor(FakePredictor(), OPTIONS)
    take(watcher, 0.1 + answered, state="raw", boxes=BOTH, reason=None if answered else UNLIKE)
    events, reading = take(watcher, 5, start=1, state="raw", boxes=BOTH, reason=UNLIKE)
    assert "unknown scene" in events and "camera moved" not in events
    assert reading.state is None


def test_an_arm_over_the_pan_is_not_a_moved_camera() -> None:
    watcher = Monitor(FakePredictor(), OPTIONS)
    assert take(watcher, 3, state="raw", boxes=BOTH)[0] == ["state changed"]
    events, reading = take(watcher, 9, start=3, state="burnt", boxes=BOTH, reason="no pan")
    assert (events, reading.state) == ([], "raw")
    assert take(watcher, 5, start=12, state="raw", boxes=BOTH, reason=UNLIKE)[0] == ["camera moved"]


def test_unanswered_frames_do_not_change_the_state() -> None:
    watcher = Monitor(FakePredictor(), OPTIONS)
    _, before = take(watcher, 3, state="raw", boxes=BOTH)
    events, reading = take(watcher, 1, start=3, state="burnt", boxes=BOTH, reason=UNLIKE)
    assert (events, reading.state) == ([], "raw")
    known = reading.result["classification"]
    assert known["probabilities"] == before.result["classification"]["probabilities"]
    assert (known["class_name"], known["answered"], known["reason"]) == ("raw", False, UNLIKE)


def test_a_removed_pan_is_not_an_unknown_scene() -> None:
    watcher = Monitor(FakePredictor(), OPTIONS)
    take(watcher, 3, state="raw", boxes=BOTH)
    assert take(watcher, 5, start=3, state="raw", boxes=[STIRRER], reason="no pan")[0] == ["pan removed"]


def test_drift_is_a_running_mean_and_reported_once() -> None:
    watcher = Monitor(FakePredictor(), OPTIONS)
    events, reading = take(watcher, 10, state="raw", boxes=BOTH, distance=0.6)
    assert events == ["state changed"] and reading.drift == pytest.approx(0.6)
    # One strange frame is not a drift.
    reading = watcher.take(said("raw", boxes=BOTH, distance=50.0, reason=UNLIKE), 10.0, DETAIL)
    assert reading.drift < 0.7 and reading.events == ()
    events, reading = take(watcher, 60, start=10.1, state="raw", boxes=BOTH, distance=0.97)
    assert events == ["drift"] and reading.drift == pytest.approx(0.97, abs=0.01)
    events, _ = take(watcher, 30, start=71, state="raw", boxes=BOTH, distance=0.5)
    events += take(watcher, 60, start=102, state="raw", boxes=BOTH, distance=0.95)[0]
    assert events == ["drift"]


def test_drift_waits_for_its_half_life() -> None:
    watcher = Monitor(FakePredictor(), OPTIONS)
    now = 1_700_000_000.0
    take(watcher, 1, start=now, state="raw", boxes=BOTH, distance=0.5)
    events, reading = take(watcher, 3.9, start=now + 1, state="raw", boxes=BOTH, distance=1.9)
    assert "drift" not in events and reading.drift > OPTIONS.drift_level


def test_drift_is_relative_to_the_scene() -> None:
    watcher = Monitor(FakePredictor(), OPTIONS)
    assert take(watcher, 60, state="raw", boxes=BOTH, distance=0.97)[0] == ["state changed"]
    assert take(watcher, 60, start=60, state="raw", boxes=BOTH, distance=1.1)[0] == []
    assert take(watcher, 60, start=120, state="raw", boxes=BOTH, distance=1.2)[0] == ["drift"]


def test_an_unknown_scene_does_not_hide_a_later_drift() -> None:
    watcher = Monitor(FakePredictor(), OPTIONS)
    take(watcher, 20, state="raw", boxes=BOTH, distance=1.9, reason=UNLIKE)
    events = take(watcher, 60, start=20, state="raw", boxes=BOTH, distance=0.5)[0]
    assert "drift" not in events
    assert take(watcher, 60, start=80, state="raw", boxes=BOTH, distance=0.97)[0] == ["drift"]


def test_a_model_that_always_answers_has_no_drift() -> None:
    assert take(Monitor(FakePredictor(), OPTIONS), 9, state="raw", boxes=BOTH)[1].drift is None


def test_detail_decides_if_the_lens_is_covered() -> None:
    rows = np.linspace(0, 120, 240)[:, None, None]
    gradient = np.broadcast_to(rows, (240, 320, 3)).astype(np.uint8)
    noisy = np.clip(DARK + np.random.default_rng(0).normal(0, 9, DARK.shape), 0, 255).astype(np.uint8)
    assert [is_covered(image) for image in (DARK, DARK + 240, gradient, noisy, DETAIL)] == [True] * 4 + [False]
