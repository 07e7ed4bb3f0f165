import pytest

from panvision.evaluation.evaluate import HeldOut
from panvision.evaluation.settings import EvaluationSettings
from panvision.export.scores import LIMITED, Measured, judge, measure
from panvision.inference.predictor import Predictor
from panvision.photos.settings import DataSettings
from tests.tiny import SIZE, ColourBackend, PartBackend

FLOAT = {"miou": 0.95, "map50": 0.8, "map50_95": 0.6, "accuracy": None}


def judged(exported, int8):
    return judge(Measured(exported), Measured(int8), 0.01)


@pytest.mark.parametrize("metric", ["miou", "map50", "map50_95"])
@pytest.mark.parametrize(("lost", "accepted"), [(0.0101, False), (0.01, True), (-0.2, True)])
def test_int8_verdict_one_metric_is_enough(metric, lost, accepted) -> None:
    verdict = judged(FLOAT, FLOAT | {metric: FLOAT[metric] - lost})
    assert verdict.accepted is accepted
    assert verdict.drop == dict.fromkeys(FLOAT, 0.0) | {"accuracy": None, metric: lost}


def test_int8_verdict_ignores_undefined_metrics() -> None:
    partly = FLOAT | {"miou": None}
    assert judged(partly, partly | {"map50": 0.7}).to_json() == {
        "accepted": False,
        "drop": {"miou": None, "map50": 0.1, "map50_95": 0.0, "accuracy": None},
    }
    nothing = dict.fromkeys(FLOAT)
    assert judged(nothing, nothing).to_json() == {"accepted": None, "drop": nothing}


@pytest.mark.parametrize(
    ("probabilities", "right", "accepted"),
    [((0.5, 0.48), True, True), ((0.9, 0.1), True, False), ((0.9, 0.1), False, False)],
)
def test_int8_verdict_counts_a_changed_label_by_its_probability(probabilities, right, accepted) -> None:
    # One of 50 images: two points by the true labels, gained or lost.
    states = [{"predicted": 0, "probabilities": probabilities}] * 50
    exported = Measured(FLOAT | {"accuracy": 0.9}, states)
    changed = [{"predicted": 1, "probabilities": (0.4, 0.6)}, *states[1:]]
    verdict = judge(exported, Measured(FLOAT | {"accuracy": 0.88 if right else 0.92}, changed), 0.01)
    assert verdict.accepted is accepted
    assert verdict.drop["accuracy"] == pytest.approx((probabilities[0] - probabilities[1]) / 50)


def test_measure_raw_test_images(packed) -> None:
    data = DataSettings(root=str(packed.raw), image_size=SIZE)
    held_out = HeldOut(packed.prepared, packed.splits, data, EvaluationSettings())
    scores, states = measure(Predictor(ColourBackend()), held_out)
    assert states[0]["probabilities"][states[0]["predicted"]] == max(states[0]["probabilities"])
    assert set(scores) == {metric.key for _, metric in LIMITED}
    # The right half of the images is bright like the mask, the box is red, and the label is that of red.
    assert scores["miou"] == scores["map50"] == scores["accuracy"] == 1.0
    part = measure(Predictor(PartBackend("detection")), held_out)
    assert part.scores == {"miou": None, "map50": 1.0, "map50_95": scores["map50_95"], "accuracy": None}
    assert not part.states
    packed.photo.write_bytes(packed.blue.read_bytes())
    blind = measure(Predictor(ColourBackend()), held_out).scores
    assert blind["miou"] == 1.0 and blind["map50"] == blind["accuracy"] == 0.0


def test_int8_verdict_rejects_a_metric_that_int8_alone_lacks() -> None:
    assert judged(FLOAT, FLOAT | {"map50": None}).accepted is False
    assert judged({"map50": 0.8}, {"map50": None}).accepted is False
