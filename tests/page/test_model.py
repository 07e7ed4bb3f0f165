import threading
from dataclasses import replace

import pytest

from panvision.inference.predictor import Predictor
from panvision.page.model import Controls, PageError, SharedModel
from tests.page.conftest import CONTROLS
from tests.tiny import INFO, ColourBackend, picture


class Crowded(ColourBackend):
    """Counts the threads in it; each waits for another one for a moment."""

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


def test_predict_is_used_by_one_thread_at_a_time():
    backend = Crowded()
    model = SharedModel(Predictor(backend))
    threads = [threading.Thread(target=model.predict, args=(picture(), CONTROLS)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(backend.batches), backend.most) == (4, 1)


def test_predict_thresholds_hold_for_one_image(model):
    image = picture(box=(4, 4, 24, 24))
    assert model.predict(image, CONTROLS)["detection"]["boxes"]
    assert not model.predict(image, Controls(score=1.0, nms=0.5))["detection"]["boxes"]
    assert model.predictor.score_threshold == INFO.thresholds.score


def test_predict_at_the_start_of_the_slider_uses_the_models_thresholds():
    info = replace(INFO, thresholds=INFO.thresholds._replace(score=(0.204, 0.9)))
    model, image = SharedModel(Predictor(ColourBackend(info, box_logit=1.0))), picture(box=(4, 4, 24, 24))
    assert model.start == Controls(score=0.2, nms=0.5)
    assert not model.predict(image, model.start)["detection"]["boxes"]  # the stirrer scores 0.85
    assert model.predict(image, Controls(score=0.21, nms=0.5))["detection"]["labels"] == [1]


def test_predict_names_what_is_wrong(model):
    with pytest.raises(PageError, match="has no pixels"):
        model.predict(picture()[:0], CONTROLS)


@pytest.mark.parametrize(
    ("text", "score"),
    [("0.7", 0.7), ("5", 1.0), ("-1", 0.0), ("x", 0.3), ("", 0.3), ("nan", 0.3), ("inf", 0.3), ("[1]", 0.3)],
)
def test_controls_changed_stay_in_their_range(text, score):
    assert CONTROLS.changed({"score": text, "other": "1"}) == Controls(score=score, nms=0.5)
