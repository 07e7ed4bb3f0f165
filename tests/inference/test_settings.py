import pytest

from panvision.core.params import ParamsError
from panvision.inference.settings import DecisionSettings, DetectionSettings


@pytest.mark.parametrize("value", ["auto", 0.0, 1, 0.45, {"pan": 0.5, "stirrer": 0}])
def test_score_threshold_is_auto_a_number_or_one_for_each_class(value):
    assert DetectionSettings.parse({"score_threshold": value}).score_threshold == value


@pytest.mark.parametrize("value", [None, "0.5", "best", 1.5, -0.1, True, [], [0.5], {}, {"pan": "auto"}, {"pan": 2}])
def test_other_score_thresholds_are_one_line(value):
    with pytest.raises(ParamsError) as error:
        DetectionSettings.parse({"score_threshold": value}, prefix="detection")
    assert "detection.score_threshold: expected auto, a number from 0 to 1" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"criterion": "recall"}, "decision.criterion"),
        ({"min_precision": 0}, "decision.min_precision"),
        ({"costs": {"miss": -1}}, "decision.costs.miss"),
        ({"costs": {"confusions": {"golden": {"burnt": "much"}}}}, "decision.costs.confusions.golden.burnt"),
    ],
)
def test_impossible_decisions_name_their_key(values, key):
    with pytest.raises(ParamsError, match=key):
        DecisionSettings.parse(values, prefix="decision")
