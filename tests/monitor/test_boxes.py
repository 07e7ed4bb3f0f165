import numpy as np

from panvision.monitor.boxes import MAX_TRACKS, BoxSmoother
from tests.monitor.fakes import said


def found(*boxes):
    return said(boxes=boxes)["detection"]


def feed(smoother, frames, *, step=0.1, start=0.0):
    return [smoother.update(found(*boxes), start + number * step) for number, boxes in enumerate(frames)]


def box(x, y=0, side=20, name="pan"):
    return (name, x, y, x + side, y + side)


def test_a_noisy_box_is_smoothed():
    rng = np.random.default_rng(0)
    xs = rng.normal(100, 1, 200)
    shown = feed(BoxSmoother(0.4), [[box(x)] for x in xs])
    assert all(len(result["boxes"]) == 1 for result in shown)
    steady = np.array([result["boxes"][0][0] for result in shown])[20:]
    assert np.abs(np.diff(steady)).mean() < 0.4 * np.abs(np.diff(xs)).mean()
    assert abs(steady.mean() - 100) < 0.3


def test_a_box_that_moves_far_is_followed_at_once():
    smoother = BoxSmoother(1.0)
    feed(smoother, [[box(0)]] * 20)
    (shown,) = feed(smoother, [[box(12)]], start=2.0)
    assert shown["boxes"][0][0] > 8


def test_one_missed_and_one_false_box_change_nothing():
    smoother = BoxSmoother(0.2)
    frames = [[box(0)]] * 10 + [[]] + [[box(0)]] * 5 + [[box(0), box(100)]] + [[box(0)]] * 5
    shown = feed(smoother, frames)
    assert {len(result["boxes"]) for result in shown} == {1}
    assert [len(result["boxes"]) for result in feed(smoother, [[]] * 10, start=5.0)][-1] == 0


def test_boxes_of_two_classes_stay_apart():
    frames = [[box(0), box(1, name="stirrer")], [box(1, name="stirrer"), box(0)]] * 5
    shown = feed(BoxSmoother(0.2), frames)[-1]
    assert sorted(zip(shown["class_names"], shown["labels"], strict=True)) == [("pan", 0), ("stirrer", 1)]
    assert dict(zip(shown["class_names"], (box[0] for box in shown["boxes"]), strict=True)) == {"pan": 0, "stirrer": 1}


def test_without_smoothing_boxes_are_unchanged():
    frames = [[box(0)], [box(5), box(50)], [], [box(7)]]
    shown = feed(BoxSmoother(0.0), frames)
    assert [sorted(one[0] for one in result["boxes"]) for result in shown] == [[0], [5, 50], [], [7]]


def test_the_number_of_tracks_is_bounded():
    rng = np.random.default_rng(1)
    smoother = BoxSmoother(0.5)
    feed(smoother, [[box(*rng.uniform(0, 1e4, 2)) for _ in range(40)] for _ in range(100)], step=0.01)
    assert len(smoother) <= MAX_TRACKS
    feed(smoother, [[]] * 40, start=10.0)
    assert len(smoother) == 0
