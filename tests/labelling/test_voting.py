import numpy as np
import pytest

from panvision.decoding.segmentation import mask_from_logits
from panvision.labelling.answers import Answer
from panvision.labelling.voting import mean_label, vote, vote_boxes

LEAST = {"pan": 0.5, "stirrer": 0.3}


def boxes(*found):
    return {
        "boxes": [list(corners) for _, _, corners in found],
        "labels": [list(LEAST).index(name) for name, _, _ in found],
        "scores": [score for _, score, _ in found],
        "class_names": [name for name, _, _ in found],
    }


def label(**probabilities):
    best = max(probabilities, key=probabilities.get)
    return {
        "class_idx": list(probabilities).index(best),
        "class_name": best,
        "probabilities": probabilities,
        "answered": True,
        "reason": None,
        "distance": None,
    }


def logits(share):
    """Logits (8, 8) of probability 0.9 in the left part, else 0.1."""
    value = np.log(9.0)
    return np.where(np.arange(8) < share, value, -value).astype(np.float32)[None].repeat(8, axis=0)


def test_a_box_of_two_in_three_models_is_their_weighted_mean():
    members = [boxes(("pan", 0.9, (0, 0, 10, 10))), boxes(("pan", 0.6, (1, 0, 11, 10))), boxes()]
    (found,) = vote_boxes(members, LEAST)
    assert found.name == "pan" and found.score == pytest.approx(0.75)
    assert found.corners == pytest.approx((0.4, 0, 10.4, 10))


def test_a_box_of_one_in_three_models_is_dropped():
    assert vote_boxes([boxes(("pan", 0.9, (0, 0, 10, 10))), boxes(), boxes()], LEAST) == []


def test_half_of_the_models_are_not_enough():
    assert vote_boxes([boxes(("pan", 0.9, (0, 0, 10, 10))), boxes()], LEAST) == []


def test_boxes_of_other_classes_or_places_are_not_joined():
    members = [boxes(("pan", 0.9, (0, 0, 10, 10))), boxes(("stirrer", 0.9, (0, 0, 10, 10)))]
    assert vote_boxes(members, LEAST) == []
    members = [boxes(("pan", 0.9, (0, 0, 10, 10))), boxes(("pan", 0.9, (6, 0, 16, 10)))]
    assert vote_boxes(members, LEAST) == []


def test_two_objects_of_one_model_stay_two():
    near = (("pan", 0.9, (0, 0, 10, 10)), ("pan", 0.8, (2, 0, 12, 10)))
    assert len(vote_boxes([boxes(*near), boxes(*near)], LEAST)) == 2
    assert [box.score for box in vote_boxes([boxes(*near)], LEAST)] == [0.9, 0.8]


def test_each_class_has_its_own_threshold():
    found = boxes(("pan", 0.4, (0, 0, 10, 10)), ("stirrer", 0.4, (0, 0, 10, 10)))
    assert [box.name for box in vote_boxes([found], LEAST)] == ["stirrer"]


def test_classes_are_voted_by_mean_probability():
    found = mean_label([label(raw=0.6, golden=0.4), label(raw=0.6, golden=0.4), label(raw=0.0, golden=1.0)])
    assert found["class_name"] == "golden" and found["class_idx"] == 1
    assert found["probabilities"] == pytest.approx({"raw": 0.4, "golden": 0.6})


def test_masks_are_voted_by_mean_probability():
    answers = [Answer(logits(share), None, None) for share in (2, 4, 6)]
    found = vote(answers, (8, 8), {})
    assert (found.mask[:, :4] == 255).all() and not found.mask[:, 4:].any()
    assert 0.5 < found.mask_confidence < 0.9


def test_one_model_gives_the_mask_that_predict_gives():
    alone = np.random.default_rng(0).normal(size=(8, 8)).astype(np.float32)
    found = vote([Answer(alone, None, None)], (31, 17), {})
    assert np.array_equal(found.mask, mask_from_logits(alone, 31, 17))


def test_masks_of_models_of_other_sizes_are_joined():
    answers = [Answer(logits(4), None, None), Answer(logits(4).repeat(2, 0).repeat(2, 1), None, None)]
    found = vote(answers, (16, 16), {})
    assert (found.mask[:, :7] == 255).all() and not found.mask[:, 9:].any()


@pytest.mark.parametrize(("said", "answered"), [((True, True, False), True), ((True, False, False), False)])
def test_most_models_must_answer(said, answered):
    one = label(raw=0.6, golden=0.4)
    labels = [{**one, "answered": each, "reason": None if each else "no pan"} for each in said]
    found = vote([Answer(None, None, each) for each in labels], (8, 8), {})
    assert found.label["answered"] is answered
    assert found.label["reason"] == (None if answered else "no pan")
