import pytest

from panvision.evaluation.settings import EvaluationSettings
from panvision.export.scores import LIMITED, HeldOut, judge_int8
from panvision.inference.predictor import Predictor
from panvision.photos.settings import DataSettings
from tests.tiny import SIZE, ColourBackend, PartBackend

FLOAT = {"miou": 0.95, "map50": 0.8, "map50_95": 0.6, "accuracy": 0.9}


@pytest.mark.parametrize("figure", FLOAT)
@pytest.mark.parametrize(("lost", "accepted"), [(0.0101, False), (0.01, True), (-0.2, True)])
def test_one_figure_that_drops_by_more_than_the_limit_is_enough(figure, lost, accepted) -> None:
    verdict = judge_int8(FLOAT, FLOAT | {figure: FLOAT[figure] - lost}, 0.01)
    assert verdict.accepted is accepted
    assert verdict.drop == dict.fromkeys(FLOAT, 0.0) | {figure: lost}


def test_undefined_figures_are_not_judged() -> None:
    partly = FLOAT | {"miou": None}
    assert judge_int8(partly, partly | {"accuracy": 0.8}, 0.01).to_json() == {
        "accepted": False,
        "drop": {"miou": None, "map50": 0.0, "map50_95": 0.0, "accuracy": 0.1},
    }
    nothing = dict.fromkeys(FLOAT)
    assert judge_int8(nothing, nothing, 0.01).to_json() == {"accepted": None, "drop": nothing}


def test_scores_are_the_evaluators_on_the_raw_test_pictures(packed) -> None:
    data = DataSettings(root=str(packed.raw), image_size=SIZE)
    held_out = HeldOut(packed.prepared, packed.splits, data, EvaluationSettings())
    scores = held_out.score(Predictor(ColourBackend()))
    assert set(scores) == {metric.key for _, metric in LIMITED}
    # The photos' right half is bright and so is the mask, the box is red, and red they are labelled.
    assert scores["miou"] == scores["map50"] == scores["accuracy"] == 1.0
    part = held_out.score(Predictor(PartBackend("detection")))
    assert part == {"miou": None, "map50": 1.0, "map50_95": scores["map50_95"], "accuracy": None}
    packed.photo.write_bytes(packed.blue.read_bytes())
    blind = held_out.score(Predictor(ColourBackend()))
    assert blind["miou"] == 1.0 and blind["map50"] == blind["accuracy"] == 0.0
