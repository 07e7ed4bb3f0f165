import threading

import pytest

from panvision.inference.predictor import Predictor
from panvision.page.model import Controls, PageError, SharedModel
from tests.tiny import INFO, ColourBackend, picture

CONTROLS = Controls(score=0.3, nms=0.5)


class Crowded(ColourBackend):
    """Notes how many are in it at a time; each waits for company, as long as there may be some."""

    def __init__(self):
        super().__init__()
        self.within = self.most = 0
        self.met = threading.Event()

    def run(self, images):
        self.within += 1
        self.most = max(self.most, self.within)
        if self.within > 1:
            self.met.set()
        self.met.wait(0.05)
        found = super().run(images)
        self.within -= 1
        return found


def test_one_at_a_time_uses_the_model():
    backend = Crowded()
    model = SharedModel(Predictor(backend))
    threads = [threading.Thread(target=model.predict, args=(picture(), CONTROLS)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(backend.batches), backend.most) == (4, 1)


def test_the_sliders_thresholds_hold_for_one_picture(model):
    image = picture(box=(4, 4, 24, 24))
    assert model.predict(image, CONTROLS)["detection"]["boxes"]
    assert not model.predict(image, Controls(score=1.0, nms=0.5))["detection"]["boxes"]
    assert model.predictor.score_threshold == INFO.thresholds.score


def test_what_the_model_cannot_do_is_told(model):
    with pytest.raises(PageError, match="score_threshold must be 0 to 1"):
        model.predict(picture(), Controls(score=2.0, nms=0.5))
    with pytest.raises(PageError, match="has no pixels"):
        model.predict(picture()[:0], CONTROLS)
