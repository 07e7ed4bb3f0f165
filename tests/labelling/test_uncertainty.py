import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from panvision.core.tasks import TASKS
from panvision.labelling.answers import Answer
from panvision.labelling.uncertainty import PARTS, box_doubt, disagreement, doubts, label_doubt, mask_doubt, total
from tests.labelling.test_voting import boxes, label

LEAST = {"pan": 0.5, "stirrer": 0.3}
PAN, STIRRER = (0, 0, 10, 10), (20, 20, 30, 30)


def edge(sharpness):
    """Probability (64, 64) of a mask that covers the left half."""
    return np.tile(1 / (1 + np.exp(sharpness * (np.arange(64) - 31.5))), (64, 1))


def logits(probability):
    return np.log(probability / (1 - probability)).astype(np.float32)


def test_a_small_margin_between_classes_is_doubtful():
    sure, unsure = label_doubt([label(raw=0.9, golden=0.1)]), label_doubt([label(raw=0.52, golden=0.48)])
    assert sure.value == pytest.approx(0.2) and unsure.value == pytest.approx(0.96)
    assert unsure.reason == "raw 52% or golden 48%"
    assert label_doubt([label(raw=1.0)]).value == 0.0


def test_a_model_that_does_not_answer_is_doubtful():
    found = label_doubt([{**label(raw=0.9, golden=0.1), "answered": False, "reason": "no pan"}])
    assert found == (1.0, "no pan")


def test_boxes_near_their_own_threshold_are_doubtful():
    one = box_doubt(boxes(("pan", 0.5, PAN), ("stirrer", 0.6, STIRRER)), LEAST)
    assert one.value == pytest.approx(0.5) and one.reason == "a box near the threshold: pan 0.50 at 0.50"
    two = box_doubt(boxes(("pan", 0.5, PAN), ("stirrer", 0.31, STIRRER)), LEAST)
    assert one.value < two.value < 0.75 and two.reason.startswith("2 boxes")
    assert box_doubt(boxes(("pan", 0.9, PAN)), LEAST).value == 0.0
    assert box_doubt(boxes(), LEAST).value == 0.0


def test_a_blurred_edge_is_doubtful():
    values = [mask_doubt(edge(sharpness)).value for sharpness in (8.0, 1.0, 0.2)]
    assert values == sorted(values) and values[0] < 0.2 and values[2] > 0.8
    # Far from the edge, entropy does not count.
    assert mask_doubt(np.full((64, 64), 0.001)).value < 0.02 < mask_doubt(np.full((64, 64), 0.4)).value


def test_answers_that_differ_are_doubtful():
    same = [Answer(logits(edge(1.0)), boxes(("pan", 0.9, PAN)), label(raw=0.9, golden=0.1))] * 2
    assert disagreement(same, LEAST).value == pytest.approx(0.0)
    moved = Answer(logits(np.roll(edge(1.0), 16, axis=1).clip(0.01, 0.99)), same[0].boxes, same[0].label)
    assert "of the mask" in disagreement([same[0], moved], LEAST).reason
    lost = Answer(same[0].mask_logits, boxes(("pan", 0.4, PAN)), same[0].label)
    assert disagreement([same[0], lost], LEAST) == (1.0, "answers disagree on boxes (0% in common)")
    other = Answer(same[0].mask_logits, same[0].boxes, label(raw=0.1, golden=0.9))
    found = disagreement([same[0], other], LEAST)
    assert found.value == pytest.approx(0.4) and found.reason.endswith("(golden, raw)")


def test_specks_are_no_disagreement():
    speck = np.full((64, 64), 0.01)
    one, other = speck.copy(), speck.copy()
    one[3, 3] = other[40, 40] = 0.9
    assert disagreement([Answer(logits(each), None, None) for each in (one, other)], {}).value < 0.1


def test_parts_that_the_model_lacks_are_absent():
    assert list(doubts([Answer(None, None, label(raw=0.6, golden=0.4))], {}, TASKS)) == ["classification"]
    answers = [Answer(logits(edge(1.0)), boxes(), label(raw=0.6, golden=0.4))] * 2
    found = doubts(answers, LEAST, TASKS)
    assert tuple(found) == PARTS


def test_the_doubts_of_one_task_are_those_of_a_model_with_no_other():
    pair = [
        Answer(logits(edge(sharpness)), boxes(), label(raw=chance, golden=1 - chance))
        for sharpness, chance in ((0.1, 0.6), (-1.0, 0.5))
    ]
    alone = [Answer(None, None, answer.label) for answer in pair]
    assert doubts(pair, LEAST, ["classification"]) == doubts(alone, LEAST, TASKS)
    assert doubts(pair, LEAST, ["classification"])["disagreement"] != doubts(pair, LEAST, TASKS)["disagreement"]


@given(st.lists(st.floats(0, 1), max_size=4))
def test_joint_doubt_is_at_least_the_largest(values):
    assert max(values, default=0.0) - 1e-9 <= total(values) <= 1.0
