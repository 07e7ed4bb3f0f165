from dataclasses import replace

import numpy as np
import pytest

from panvision.inference.backend import PredictorError
from panvision.inference.predictor import Predictor
from panvision.labelling.answers import Panel, in_batches, mask_probability
from panvision.labelling.voting import vote
from tests.tiny import INFO, ColourBackend, PartBackend, picture

BOX = (8, 8, 40, 40)


def panel(*backends, **options):
    return Panel([Predictor(backend) for backend in backends or (ColourBackend(),)], **options)


def test_one_model_votes_as_it_predicts():
    image = picture(box=BOX)
    wanted = Predictor(ColourBackend()).predict(image)
    (answers,) = panel().answer([image])
    found = vote(answers, (96, 48), panel().thresholds)
    assert np.array_equal(found.mask, wanted["segmentation"]["mask"])
    assert [list(box.corners) for box in found.boxes] == wanted["detection"]["boxes"]
    assert found.label == wanted["classification"]
    assert found.result(INFO.det_class_names)["detection"] == wanted["detection"]


def test_answers_to_mirrored_images_are_mirrored_back():
    (answers,) = panel(flip=True).answer([picture(box=BOX)])
    straight, mirrored = answers
    assert np.allclose(straight.mask_logits, mirrored.mask_logits)
    assert np.allclose(straight.boxes["boxes"], mirrored.boxes["boxes"], atol=1.5)


def test_boxes_below_the_threshold_are_answers():
    low = ColourBackend(box_logit=-3.0)
    (answers,) = panel(low).answer([picture(box=BOX)])
    score = answers[0].boxes["scores"][0]
    assert INFO.thresholds.score / 2 < score < INFO.thresholds.score
    assert not vote(answers, (96, 48), panel().thresholds).boxes
    lowered = Panel([Predictor(low).with_thresholds({"stirrer": score / 2})])
    assert lowered.thresholds == {**panel().thresholds, "stirrer": score / 2}
    assert vote(answers, (96, 48), lowered.thresholds).boxes


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (PartBackend("detection"), "must have the same tasks"),
        (ColourBackend(replace(INFO, det_class_names=("a", "b"))), "the same box classes"),
    ],
)
def test_models_that_do_not_fit(other, message):
    with pytest.raises(PredictorError, match=message):
        panel(ColourBackend(), other)


def test_a_model_without_the_wanted_task_does_not_fit():
    with pytest.raises(PredictorError, match="the model has detection, but not classification"):
        Panel([Predictor(PartBackend("detection"))], tasks=["classification"])


def test_a_model_without_masks_has_no_probability():
    (answers,) = panel(PartBackend("classification")).answer([picture()])
    assert mask_probability(answers) is None and answers[0].boxes is None


def test_batches_take_no_more_than_they_need():
    taken = []
    batches = in_batches((taken.append(number) or number for number in range(5)), 2)
    assert next(batches) == [0, 1] and taken == [0, 1]
    assert list(batches) == [[2, 3], [4]]
