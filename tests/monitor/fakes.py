"""Models, clocks and sources with known answers."""

import threading

import numpy as np

from panvision.monitor.errors import SourceError
from panvision.monitor.sources import Source

STATES = ("raw", "golden", "burnt")
BOXES = ("pan", "stirrer")


def said(state=None, *, boxes=(), mask=None, sure=0.9, reason=None, distance=None):
    """Return a result: a state, the rest spread over the others, boxes as (name, x1, y1, x2, y2).

    With a `reason`, the state is not answered.
    """
    result = {}
    if state is not None:
        rest = (1 - sure) / (len(STATES) - 1)
        probabilities = {name: sure if name == state else rest for name in STATES}
        result["classification"] = {
            "class_idx": STATES.index(state),
            "class_name": state,
            "probabilities": probabilities,
            "answered": reason is None,
            "reason": reason,
            "distance": distance,
        }
    if boxes is not None:
        result["detection"] = {
            "boxes": [[float(edge) for edge in box[1:]] for box in boxes],
            "labels": [BOXES.index(box[0]) for box in boxes],
            "scores": [0.8] * len(boxes),
            "class_names": [box[0] for box in boxes],
        }
    if mask is not None:
        result["segmentation"] = {"mask": mask}
    return result


PAN = ("pan", 10, 10, 50, 50)
STIRRER = ("stirrer", 20, 20, 30, 60)
BOTH = (PAN, STIRRER)


class FakePredictor:
    """Returns the test's answer for each frame."""

    def __init__(self, answer=None, *, det=BOXES, cls=STATES):
        self.det_class_names, self.cls_class_names = list(det), list(cls)
        self.answer = answer or (lambda image: said("raw", boxes=BOTH))

    def predict(self, image):
        return self.answer(image)


class FakeClock:
    """Advances only by waits."""

    def __init__(self, start=1000.0):
        self.now = start
        self.waits = []

    def time(self):
        return self.now

    def wait(self, seconds):
        self.waits.append(seconds)
        self.now += seconds


class FakeCapture:
    """Yields frames of the numbers in a list, `seconds` apart, then ends."""

    skipped = missing = 0

    def __init__(self, numbers, clock=None, *, seconds=0.1, fps=10.0):
        self.numbers, self.clock, self.seconds, self.fps = list(numbers), clock, seconds, fps
        self.taken = 0
        self.closed = False

    def read(self):
        if not self.numbers:
            return None
        if self.clock is not None:
            self.clock.now += self.seconds
        self.taken += 1
        return frame(self.numbers.pop(0)), (self.taken - 1) * self.seconds

    def close(self):
        self.closed = True


def frame(number):
    return np.full((4, 4, 3), number, np.uint8)


def source(*openings, recorded=False):
    """Return a source that opens these captures one after the other; None cannot be opened."""
    waiting = list(openings)

    def open_next():
        if not waiting or (capture := waiting.pop(0)) is None:
            raise SourceError("fake: cannot be opened")
        return capture

    return Source("fake", live=True, open=open_next, recorded=recorded)


def stopped_after(stop: threading.Event, calls: int):
    """Return a function that sets `stop` at a number of calls."""
    count = iter(range(1, calls + 1))
    return lambda *_: stop.set() if next(count) == calls else None
