import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from panvision.evaluation.thresholds import best_threshold, threshold_curve
from panvision.inference.settings import CostSettings, DecisionSettings

# Three of four objects are found; the boxes at 0.8 and 0.3 are false alarms.
SCORES, HITS, POSITIVES = [0.9, 0.8, 0.7, 0.5, 0.3], [True, False, True, True, False], 4
predictions = st.lists(st.tuples(st.sampled_from((0.1, 0.3, 0.5, 0.7, 1.0)), st.booleans()), min_size=1, max_size=12)


def counts(boxes, threshold):
    kept = [hit for score, hit in boxes if score >= threshold]
    return sum(kept), len(kept) - sum(kept)


def test_curve_by_hand():
    curve = threshold_curve(SCORES, HITS, POSITIVES, [0.0, 0.5, 0.85, 0.95])
    np.testing.assert_allclose(curve.precision, [0.6, 0.75, 1.0, np.nan])
    np.testing.assert_allclose(curve.recall, [0.75, 0.75, 0.25, 0.0])
    np.testing.assert_allclose(curve.f1, [6 / 9, 6 / 8, 2 / 5, 0.0])
    np.testing.assert_allclose(curve.cost(5.0, 2.0), [9.0, 7.0, 15.0, 20.0])


@given(predictions, st.floats(0.0, 1.0))
def test_curve_counts_what_a_threshold_keeps(boxes, threshold):
    curve = threshold_curve([score for score, _ in boxes], [hit for _, hit in boxes], 5, [threshold])
    assert (curve.tp[0], curve.fp[0]) == counts(boxes, threshold)


@pytest.mark.parametrize(
    ("decision", "threshold"),
    [
        (DecisionSettings(), 0.4),  # precision and recall 3/4
        (DecisionSettings(criterion="precision", min_precision=0.75), 0.4),
        (DecisionSettings(criterion="precision", min_precision=0.9), 0.85),
        (DecisionSettings(criterion="cost"), 0.4),
        (DecisionSettings(criterion="cost", costs=CostSettings(miss=1.0, false_alarm=10.0)), 0.85),
        (DecisionSettings(criterion="cost", costs=CostSettings(miss=0.0)), 0.95),  # nothing is reported
    ],
)
def test_best_threshold_by_each_criterion(decision, threshold):
    assert best_threshold(SCORES, HITS, POSITIVES, decision) == pytest.approx(threshold, abs=1e-5)


def test_best_threshold_where_no_precision_is_enough():
    decision = DecisionSettings(criterion="precision", min_precision=0.9)
    assert best_threshold([0.9, 0.8, 0.7, 0.6], [False, True, True, False], 2, decision) == pytest.approx(
        0.65, abs=1e-5
    )


@settings(deadline=None)
@given(predictions, st.integers(1, 5), st.floats(0.0, 9.0), st.floats(0.0, 9.0))
def test_best_threshold_has_the_least_cost(boxes, missed, miss, false_alarm):
    positives = sum(hit for _, hit in boxes) + missed
    decision = DecisionSettings(criterion="cost", costs=CostSettings(miss=miss, false_alarm=false_alarm))

    def cost(threshold):
        tp, fp = counts(boxes, threshold)
        return miss * (positives - tp) + false_alarm * fp

    best = best_threshold(*zip(*boxes, strict=True), positives, decision)
    # A threshold is at most 1, so a box of score 1 is always reported.
    assert cost(best) == pytest.approx(min(cost(score) for score in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)), abs=1e-9)


@settings(deadline=None)
@given(predictions, st.integers(0, 5), st.floats(0.05, 1.0))
def test_best_threshold_finds_most_with_enough_precision(boxes, missed, least):
    positives = sum(hit for _, hit in boxes) + missed
    best = best_threshold(
        *zip(*boxes, strict=True), positives, DecisionSettings(criterion="precision", min_precision=least)
    )
    if best is None:
        assert not any(hit for _, hit in boxes)
        return
    found = [counts(boxes, threshold) for threshold in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)]
    enough = [tp for tp, fp in found if tp and tp / (tp + fp) >= least]
    tp, fp = counts(boxes, best)
    if enough:
        assert tp == max(enough) and tp / (tp + fp) >= least
    else:
        assert tp / (tp + fp) == pytest.approx(max(each / (each + wrong) for each, wrong in found if each))


@pytest.mark.parametrize("criterion", ["f1", "precision", "cost"])
def test_best_threshold_of_nothing_is_unknown(criterion):
    assert best_threshold([], [], 3, DecisionSettings(criterion=criterion)) is None
    assert best_threshold([0.5], [False], 0, DecisionSettings(criterion=criterion)) is None
