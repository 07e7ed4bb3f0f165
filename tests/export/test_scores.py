import pytest

from panvision.evaluation.evaluate import HeldOut
from panvision.evaluation.settings import EvaluationSettings
from panvision.export.scores import LIMITED, judge_int8, limited_scores
from panvision.inference.predictor import Predictor
from panvision.photos.settings import DataSettings
from tests.tiny import SIZE, ColourBackend, PartBackend

FLOAT = {"miou": 0.95, "map50": 0.8, "map50_95": 0.6, "accuracy": 0.9}


@pytest.mark.parametrize("metric", FLOAT)
@pytest.mark.parametrize(("lost", "accepted"), [(0.0101, False), (0.01, True), (-0.2, True)])
def test_int8_verdict_one_metric_is_enough(metric, lost, accepted) -> None:
    verdict = judge_int8(FLOAT, FLOAT | {metric: FLOAT[metric] - lost}, 0.01)
    assert verdict.accepted is accepted
    assert verdict.drop == dict.fromkeys(FLOAT, 0.0) | {metric: lost}


def test_int8_verdict_ignores_undefined_metrics() -> None:
    partly = FLOAT | {"miou": None}
    assert judge_int8(partly, partly | {"accuracy": 0.8}, 0.01).to_json() == {
        "accepted": False,
        "drop": {"miou": None, "map50": 0.0, "map50_95": 0.0, "accuracy": 0.1},
    }
    nothing = dict.fromkeys(FLOAT)
    assert judge_int8(nothing, nothing, 0.01).to_json() == {"accepted": None, "drop": nothing}


def test_limited_scores_raw_test_images(packed) -> None:
    data = DataSettings(root=str(packed.raw), image_size=SIZE)
    held_out = HeldOut(packed.prepared, packed.splits, data, EvaluationSettings())
    scores = limited_scores(Predictor(ColourBackend()), held_out)
    assert set(scores) == {metric.key for _, metric in LIMITED}
    # The right half of the images is bright like the mask, the box is red, and the label is that of red.
    assert scores["miou"] == scores["map50"] == scores["accuracy"] == 1.0
    part = limited_scores(Predictor(PartBackend("detection")), held_out)
    assert part == {"miou": None, "map50": 1.0, "map50_95": scores["map50_95"], "accuracy": None}
    packed.photo.write_bytes(packed.blue.read_bytes())
    blind = limited_scores(Predictor(ColourBackend()), held_out)
    assert blind["miou"] == 1.0 and blind["map50"] == blind["accuracy"] == 0.0


def test_int8_verdict_rejects_a_metric_that_int8_alone_lacks() -> None:
    assert judge_int8(FLOAT, FLOAT | {"map50": None}, 0.01).accepted is False
    assert judge_int8({"map50": 0.8}, {"map50": None}, 0.01).accepted is False
