from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from panvision.decoding.answers import NO_PAN, UNLIKE, decide, measure
from panvision.decoding.classification import decode, shapes
from panvision.decoding.decoder import AnswerLimits, ModelShape, Thresholds
from panvision.decoding.detection import sigmoid

LIMITS = AnswerLimits(distance=2.0, pan_area=0.25, pan_score=0.5, pan_label=1)
MODEL = ModelShape(32, (8,), ("lid", "pan"), ("raw", "done"), Thresholds(0.3, 0.5, 10), limits=LIMITS)


def outputs(*, distance=1.0, area=0.5, score=0.9):
    """Raw outputs of one image; the lid's score is always 1."""
    logits = np.full((16, 2), [30.0, -30.0], np.float32)
    logits[3, 1] = np.log(score**2 / (1 - score**2))
    mask = np.full((32, 32), -1.0, np.float32)
    mask[: round(32 * area)] = 1.0
    return {
        "mask_logits": mask,
        "class_logits": logits,
        "centerness": np.full(16, 30.0, np.float32),
        "state_logits": np.array([0.0, 1.0], np.float32),
        "cls_distance": np.float32(distance),
    }


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, None),
        ({"distance": 2.0}, None),
        ({"distance": 2.01}, UNLIKE),
        ({"distance": np.nan}, UNLIKE),
        ({"area": 0.2}, NO_PAN),
        ({"score": 0.4}, NO_PAN),
        ({"distance": 9.0, "area": 0.0}, NO_PAN),
    ],
)
def test_decide_names_the_reason(changes, reason) -> None:
    found = decode(outputs(**changes), MODEL, (64, 48))
    assert (found["answered"], found["reason"]) == (reason is None, reason)
    assert found["class_name"] == "done" and sum(found["probabilities"].values()) == pytest.approx(1.0)
    np.testing.assert_allclose(found["distance"], changes.get("distance", 1.0) / 2.0)


def test_limits_that_are_none_are_not_compared() -> None:
    limited = ModelShape(32, (8,), (), ("raw", "done"), MODEL.thresholds, limits=AnswerLimits(2.0))
    own = {name: outputs()[name] for name in ("state_logits", "cls_distance")}
    assert decide(own, limited).answered
    assert shapes(limited) == {"state_logits": (2,), "cls_distance": ()}
    assert shapes(replace(limited, features=7)) == {"state_logits": (2,), "cls_distance": (), "cls_features": (7,)}


def test_a_model_without_limits_answers_every_image() -> None:
    old = ModelShape(32, (8,), (), ("raw", "done"), MODEL.thresholds)
    assert decide({"state_logits": np.zeros(2, np.float32)}, old) == (True, None, None)
    assert shapes(old) == {"state_logits": (2,)}


@given(st.floats(-40, 40), st.floats(-40, 40))
def test_the_pan_score_is_that_of_its_box(logit: float, centerness: float) -> None:
    raw = {name: np.asarray(values)[None] for name, values in outputs().items()}
    raw |= {"class_logits": np.full((1, 1, 2), logit), "centerness": np.full((1, 1), centerness)}
    expected = np.sqrt(sigmoid(logit) * sigmoid(centerness))
    np.testing.assert_allclose(measure(raw, LIMITS)["pan_score"], [expected], rtol=1e-4)
