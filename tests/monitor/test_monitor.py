import gc
import sys
import tracemalloc

import numpy as np
import pytest

from panvision.inference import Predictor
from panvision.monitor import Event, Monitor, MonitorError, MonitorOptions
from panvision.photos.pixels import ImageError
from tests.monitor.fakes import BOTH, PAN, STIRRER, FakePredictor, frame, said
from tests.tiny import ColourBackend

CALM = MonitorOptions(half_life=0.5, missing_after=1.0, order=("raw", "golden", "burnt"))


def monitor(options=CALM, **names):
    return Monitor(FakePredictor(**names), options)


def take(watcher, result, seconds, *, start=0.0, step=0.1):
    """Return events and the last reading while the model's result stays the same for some seconds."""
    events = []
    for number in range(round(seconds / step)):
        reading = watcher.take(result, start + number * step)
        events += reading.events
    return events, reading


def names(events):
    return [event.event for event in events]


def test_a_change_of_state_is_one_event():
    watcher = monitor()
    events, reading = take(watcher, said("raw", boxes=BOTH), 2)
    assert [event.to_json() for event in events] == [
        {"event": "state changed", "time": 0.5, "confidence": 0.9, "from": None, "to": "raw"}
    ]
    assert reading.state == "raw" and reading.result["classification"]["class_name"] == "raw"
    events, reading = take(watcher, said("golden", boxes=BOTH), 2, start=2.0)
    (event,) = events
    assert (event.event, event.before, event.after) == ("state changed", "raw", "golden")
    assert 2.3 < event.time < 3.2 and 0.5 < event.confidence < 0.9
    assert reading.raw == said("golden", boxes=BOTH)
    assert reading.result["classification"]["probabilities"]["golden"] == pytest.approx(0.9, abs=0.1)
    assert event.in_words() == f"state changed from raw to golden ({event.confidence:.0%})"


def test_a_bgr_frame_reaches_the_model_as_rgb():
    seen = []
    watcher = monitor()
    watcher.predictor.predict = lambda image: seen.append(image) or said("raw")
    image = np.full((4, 5, 3), (1, 2, 3), np.uint8)
    watcher.see(image, 0.0)
    watcher.see(image[:, :, ::-1], 0.1, bgr=True)
    assert all(np.array_equal(one, image) for one in seen) and len(seen) == 2


def test_an_invalid_frame_is_refused():
    watcher = Monitor(Predictor(ColourBackend()))
    for wrong in (None, np.zeros((0, 4, 3), np.uint8), np.full((4, 4, 3), np.nan), np.zeros((3, 40, 40), np.uint8)):
        with pytest.raises(ImageError, match="image: "):
            watcher.see(wrong, 0.0)
    assert watcher.see(np.zeros((4, 4, 3), np.uint8), 0.0).result["segmentation"]["mask"].shape == (4, 4)


def test_a_stirrer_that_is_removed_and_returned():
    watcher = monitor()
    take(watcher, said("raw", boxes=BOTH), 2)
    events, _ = take(watcher, said("raw", boxes=[PAN]), 3, start=2.0)
    assert names(events) == ["stirrer missing"]
    assert 3.0 < events[0].time < 4.0 and events[0].confidence > 0.7
    events, _ = take(watcher, said("raw", boxes=BOTH), 3, start=5.0)
    assert names(events) == ["stirrer returned"]


def test_boxes_below_the_thresholds_are_only_raw():
    low = said("raw", boxes=BOTH)
    low["detection"]["scores"] = [0.8, 0.4]
    watcher = Monitor(FakePredictor(), CALM, {"pan": 0.5, "stirrer": 0.5})
    events, reading = take(watcher, low, 3)
    assert reading.raw == low and reading.result["detection"]["class_names"] == ["pan"]
    assert names(events) == ["state changed", "stirrer missing"]
    assert names(take(Monitor(FakePredictor(), CALM), low, 3)[0]) == ["state changed"]
    _, reading = take(Monitor(FakePredictor(), CALM, {"pan": 0.5, "stirrer": 0.3}, 1), low, 3)
    assert reading.raw == low and reading.result["detection"]["class_names"] == ["pan"]


def test_the_state_is_kept_without_a_pan_then_restarts():
    watcher = monitor()
    take(watcher, said("burnt", boxes=BOTH), 2)
    # The model's state of an empty hob does not count.
    events, reading = take(watcher, said("golden", boxes=[STIRRER]), 3, start=2.0)
    assert names(events) == ["pan removed"]
    assert reading.state == "burnt"
    events, reading = take(watcher, said("raw", boxes=BOTH), 3, start=5.0)
    assert names(events) == ["pan returned", "state changed"]
    assert (events[1].before, events[1].after) == (None, "raw")


def test_a_model_without_boxes_finds_the_pan_by_its_mask():
    watcher = monitor(det=())
    full, empty = np.full((8, 8), 255, np.uint8), np.zeros((8, 8), np.uint8)
    events, _ = take(watcher, said("raw", boxes=None, mask=full), 2)
    assert names(events) == ["state changed"]
    events, _ = take(watcher, said("raw", boxes=None, mask=empty), 3, start=2.0)
    assert names(events) == ["pan removed"]


def test_a_model_of_one_task_is_watched():
    events, reading = take(monitor(det=()), said("raw", boxes=None), 2)
    assert names(events) == ["state changed"] and set(reading.result) == {"classification"}
    mask = np.full((4, 4), 255, np.uint8)
    watcher = Monitor(FakePredictor(det=(), cls=()), MonitorOptions())
    events, reading = take(watcher, said(boxes=None, mask=mask), 2)
    assert events == [] and reading.state is None and (reading.result["segmentation"]["mask"] == 255).all()


def test_the_mask_ignores_a_single_frame():
    watcher = monitor()
    left = np.zeros((4, 8), np.uint8)
    left[:, :4] = 255
    take(watcher, said(mask=left), 2)
    assert (watcher.take(said(mask=255 - left), 2.0).result["segmentation"]["mask"] == left).all()
    _, reading = take(watcher, said(mask=255 - left), 2, start=2.1)
    assert (reading.result["segmentation"]["mask"] == 255 - left).all()
    # Another image size restarts it.
    assert watcher.take(said(mask=np.zeros((2, 2), np.uint8)), 9.0).result["segmentation"]["mask"].shape == (2, 2)


def test_a_lost_source_and_its_return_are_reported_once():
    watcher = monitor()
    take(watcher, said("raw", boxes=BOTH), 1)
    assert watcher.idle(3.0) == ()
    assert watcher.idle(6.0) == (Event("source lost", 6.0, 1.0),)
    assert watcher.idle(7.0) == ()
    assert watcher.take(said("raw", boxes=BOTH), 8.0).events[0].event == "source returned"
    assert watcher.idle(8.5) == ()


def test_a_source_without_any_frame_is_lost():
    watcher = monitor()
    assert watcher.idle(100.0) == ()
    assert names(watcher.idle(105.0)) == ["source lost"]
    # A recording that starts late has its own times.
    assert names(watcher.take(said("raw", boxes=BOTH), 0.0).events) == ["source returned"]


@pytest.mark.parametrize("time", [1.0, 0.5, float("nan")])
def test_times_must_rise(time):
    watcher = monitor()
    watcher.see(frame(0), 1.0)
    with pytest.raises(MonitorError, match="must rise"):
        watcher.see(frame(0), time)


def test_invalid_options_are_all_named():
    with pytest.raises(MonitorError) as error:
        MonitorOptions(half_life=0, margin=1.5, lost_after=float("nan"), strong=True, order=("a", "a"))
    for name in ("half_life", "margin", "lost_after", "strong", "order"):
        assert name in str(error.value)
    assert "0.01 to 3600" in str(error.value)


def test_options_must_name_the_models_classes():
    with pytest.raises(MonitorError, match="each of the model's states once"):
        monitor(MonitorOptions(order=("raw", "golden")))
    with pytest.raises(MonitorError, match="expected names ladle, but the model's boxes are pan, stirrer"):
        monitor(MonitorOptions(expected=("ladle",)))
    # The default suits models without a stirrer.
    assert Monitor(FakePredictor(det=("pan",)), MonitorOptions())


@pytest.mark.slow
def test_memory_is_constant_over_20_000_frames():
    """Soak test: noisy and false boxes, changing states, a pan that is removed and returned."""
    rng = np.random.default_rng(0)
    mask = np.zeros((24, 32), np.uint8)
    mask[4:20, 8:28] = 255
    states = ("raw", "golden", "burnt")

    def answer(image):
        number = int(image[0, 0, 0]) + 256 * int(image[0, 0, 1])
        boxes = [(name, *(np.array(edges) + rng.normal(0, 1, 4))) for name, *edges in BOTH]
        boxes = boxes[number // 1000 % 3 :] + [("pan", *rng.uniform(0, 500, 2), 600, 600)] * (number % 7 == 0)
        return said(
            states[int(rng.integers(3))] if number % 5 == 0 else states[number // 500 % 3], boxes=boxes, mask=mask
        )

    watcher = Monitor(FakePredictor(answer), CALM)
    image, events, blocks, traced = np.zeros((4, 4, 3), np.uint8), 0, [], []
    try:
        for number in range(20_000):
            image[0, 0, :2] = number % 256, number // 256
            events += len(watcher.see(image, number * 0.1).events)
            if number % 2000 == 1999:
                gc.collect()
                blocks.append(sys.getallocatedblocks())
            if number == 16_000:
                tracemalloc.start()  # late: it makes everything four times slower
            elif number > 16_000 and number % 500 == 0:
                traced.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert events > 20
    assert max(blocks[1:7]) - blocks[0] < 500, blocks
    assert max(traced[1:]) - traced[0] < 20_000, traced
