from dataclasses import replace
from math import inf, isnan, nan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from benchmarks.coverage import box_population, measure, state_population
from panvision.evaluation.intervals import (
    Spread,
    difference_interval,
    half_biases,
    jackknife,
    student,
    value_interval,
)
from panvision.evaluation.metrics import scores, tally
from tests.evaluation.made import box_results, state_results


def mean_of(values):
    values = np.asarray(values, np.float64)

    def metrics(weights):
        total = weights.sum(axis=1)
        return {"mean": np.divide(weights @ values, total, out=np.full(len(weights), np.nan), where=total > 0)}

    return metrics


def spread_of(values, groups=None):
    return jackknife(mean_of(values), [str(row) for row in range(len(values))] if groups is None else groups)["mean"]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=2, max_size=30))
def test_jackknife_of_a_mean_is_the_standard_error(values):
    found = spread_of(values)
    assert found.value == pytest.approx(np.mean(values))
    assert found.variance == pytest.approx(np.var(values, ddof=1) / len(values), abs=1e-12)
    assert found.groups == len(values)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=10, max_size=30))
def test_a_mean_of_an_even_number_has_no_bias(values):
    even = values[: len(values) // 2 * 2]
    groups = [str(row) for row in range(len(even))]
    assert half_biases(mean_of(even), groups)["mean"] == pytest.approx(0.0, abs=1e-12)


def test_average_precision_of_few_images_is_corrected_downwards():
    random = np.random.default_rng(0)
    population, biases, errors = box_population(random), [], []
    truth = population.truth()[0]["map50_95"]
    for _ in range(40):
        results, _ = population.results(random.integers(0, len(population.groups), 25), [False] * 25)
        groups = [image["group"] for image in results.images]
        biases.append(half_biases(tally(results), groups)["map50_95"])
        errors.append(jackknife(tally(results), groups)["map50_95"].value - truth)
    assert np.mean(biases) > 0.01
    assert abs(np.mean(errors) - np.mean(biases)) < abs(np.mean(errors))


def test_metric_that_halves_lower_is_not_corrected():
    def metrics(weights):
        return {"most": weights.mean(axis=1) / 2}

    assert half_biases(metrics, [str(row) for row in range(12)])["most"] == 0.0


def test_metric_that_a_half_leaves_undefined_is_not_corrected():
    def metrics(weights):
        return {"rare": np.where(weights[:, :2].any(axis=1), weights.mean(axis=1), np.nan)}

    assert half_biases(metrics, [str(row) for row in range(12)])["rare"] == 0.0


@given(st.floats(0.01, 0.99), st.floats(-0.5, 0.5))
def test_corrected_interval_still_contains_the_value(value, bias):
    found = value_interval(Spread(value, 20, 20, 1e-4, bias))
    assert 0 <= found["low"] <= value <= found["high"] <= 1
    if 0.2 < abs(bias) < min(value, 1 - value):
        assert (found["high"] if bias > 0 else found["low"]) == value


def test_jackknife_leaves_whole_groups_out():
    values, groups = [1, 1, 0, 0, 0, 1], ["a", "a", "b", "b", "c", "c"]
    assert spread_of(values, groups).variance == pytest.approx(np.var([1, 0, 0.5], ddof=1) / 3)
    assert spread_of(values, groups)[1:3] == (3, 2)  # b alone is 0


def test_jackknife_joins_more_groups_than_it_scores():
    values = np.random.default_rng(0).uniform(size=1201)
    found = spread_of(values)
    assert found.groups == 401
    assert found.variance == pytest.approx(np.var(values, ddof=1) / len(values), rel=0.2)


@settings(max_examples=25, deadline=None)
@given(st.permutations(range(12)), st.sampled_from(["state", "box"]))
def test_scores_do_not_depend_on_the_order_of_images(order, kind):
    results = grouped(state_results() if kind == "state" else box_results(), 1)
    one, other = scores(results), scores(replace(results, images=[results.images[row] for row in order]))
    assert one["ci95_null"] == other["ci95_null"]
    for name, interval in one["ci95"].items():
        assert other["ci95"][name] == (None if interval is None else pytest.approx(interval, abs=1e-9)), name


def grouped(results, size):
    images = [{**image, "group": str(number // size)} for number, image in enumerate(results.images)]
    return replace(results, images=images)


SPREADS = st.builds(
    lambda value, groups, differing, share: Spread(value, groups, min(differing, groups), share * value * (1 - value)),
    st.floats(0, 1),
    st.integers(10, 600),
    st.integers(0, 600),
    st.floats(1e-6, 1),
)
LEVELS = st.floats(0.5, 0.99)


@given(SPREADS, LEVELS, LEVELS)
def test_value_interval_properties(spread, one, other):
    narrow, wide = (value_interval(spread, level=level) for level in sorted((one, other)))
    assert 0 <= wide["low"] <= narrow["low"] <= spread.value <= narrow["high"] <= 1
    assert narrow["high"] <= wide["high"] + 1e-12  # rounding, where both are 1


@given(SPREADS, LEVELS, LEVELS)
def test_difference_interval_properties(spread, one, other):
    narrow, wide = (difference_interval(spread, level=level) for level in sorted((one, other)))
    assert -1 <= wide["low"] <= narrow["low"] <= spread.value <= narrow["high"] <= wide["high"] <= 1


@given(SPREADS.filter(lambda spread: 0.001 < spread.value < 0.999), st.floats(0.1, 50))
def test_value_interval_scales_with_the_range(spread, factor):
    scaled = spread._replace(value=factor * spread.value - 1, variance=factor**2 * spread.variance)
    unit, found = value_interval(spread), value_interval(scaled, (-1.0, factor - 1 + 1e-12))
    assert [found["low"], found["high"]] == pytest.approx([factor * unit[end] - 1 for end in ("low", "high")], abs=1e-5)


def test_value_interval_ends_are_roots_of_the_score():
    spread = Spread(0.8, 25, 25, 0.002)
    found, t = value_interval(spread), stats.t.ppf(0.975, 24)
    for end in found.values():
        assert abs(end - 0.8) == pytest.approx(t * (0.002 * end * (1 - end) / (0.8 * 0.2)) ** 0.5, rel=1e-4)


@given(st.integers(10, 500), st.floats(0, 1), st.integers(1, 5))
def test_proportion_of_groups_has_wilsons_interval(groups, share, size):
    right = round(share * groups)
    labels = [str(row // size) for row in range(groups * size)]
    found = value_interval(spread_of(np.repeat([1.0, 0.0], [right * size, (groups - right) * size]), labels))
    wilson = stats.binomtest(right, groups).proportion_ci(0.95, "wilson")
    assert found == pytest.approx({"low": wilson.low, "high": wilson.high}, abs=1e-9)


def test_groups_of_different_accuracy_need_a_wider_interval():
    independent, unequal = spread_of([1.0] * 10 + [0.0] * 10), spread_of([0.9] * 10 + [0.1] * 10)
    as_wide = value_interval(unequal._replace(variance=independent.variance * 1.0001))
    assert as_wide["low"] < value_interval(independent)["low"] - 0.01


def test_equal_groups_count_as_one_observation_each():
    found = value_interval(spread_of(np.full(20, 0.7)))
    wilson = stats.binomtest(14, 20).proportion_ci(0.95, "wilson")
    assert found == pytest.approx({"low": wilson.low, "high": wilson.high}, abs=1e-9)


def test_few_differing_groups_widen_the_difference():
    spread = spread_of([1.0] + [0.0] * 19)
    assert spread.differing == 1
    found = difference_interval(spread)
    assert found["high"] - spread.value == pytest.approx(1.96 * (spread.variance * 2) ** 0.5, abs=1e-3)


def test_no_observed_difference_has_a_width():
    found = difference_interval(spread_of(np.zeros(20)))
    assert found["high"] == -found["low"] == pytest.approx(1.96 / (20 * 19) ** 0.5, abs=1e-3)


def test_unbounded_metrics():
    found = value_interval(Spread(4.0, 20, 20, 1.0), (0.0, inf))
    large = value_interval(Spread(4.0, 20, 20, 1.0), (0.0, 1e9))
    assert found == pytest.approx(large, rel=1e-6)
    assert 0 < found["low"] < 4.0 < found["high"]
    assert value_interval(Spread(0.0, 20, 0, 0.0), (0.0, inf)) == "no_spread"
    assert difference_interval(Spread(0.0, 20, 0, 0.0), (0.0, inf)) == "no_spread"


@pytest.mark.parametrize("interval", [value_interval, difference_interval])
def test_intervals_without_enough_groups_have_a_reason(interval):
    assert interval(Spread(nan, 20, 0, nan)) == "undefined"
    assert interval(Spread(0.5, 9, 9, 0.01)) == "few_groups"
    assert interval(Spread(0.5, 10, 10, nan)) == "one_group"
    assert isinstance(interval(Spread(0.5, 10, 10, 0.01)), dict)


def test_only_groups_with_something_to_measure_count():
    values, known = np.arange(12) % 2, np.arange(12) < 9

    def metrics(weights):
        own = weights[:, known].sum(axis=1)
        right = weights[:, known] @ values[known]
        return {"recall": np.divide(right, own, out=np.full(len(weights), np.nan), where=own > 0)}

    found = jackknife(metrics, [str(row) for row in range(12)])["recall"]
    assert found.groups == 9 and value_interval(found) == "few_groups"


def test_metric_that_hangs_on_one_group_has_no_variance():
    def metrics(weights):
        return {"share": np.where(weights[:, 0] > 0, weights[:, 1] / 2.0, np.nan)}

    assert isnan(jackknife(metrics, [str(row) for row in range(12)])["share"].variance)


def test_jackknife_without_images():
    assert value_interval(jackknife(mean_of([]), [])["mean"]) == "undefined"
    assert half_biases(mean_of([]), []) == {"mean": 0.0}


def test_value_outside_its_range_is_refused():
    with pytest.raises(ValueError, match=r"ranges"):
        value_interval(Spread(1.5, 10, 10, 0.1))


@pytest.mark.parametrize("freedom", [9, 10, 43, 499])
def test_student_is_scipys(freedom):
    assert student(0.95, freedom) == pytest.approx(stats.t.ppf(0.975, freedom), abs=1e-4)
    assert student(0.5, freedom) == pytest.approx(stats.t.ppf(0.75, freedom), abs=1e-4)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0.01, 1), min_size=10, max_size=20, unique=True))
def test_difference_in_all_groups_has_the_standard_error(values):
    found = difference_interval(spread_of(values), (0.0, inf))
    expected = stats.norm.interval(0.95, np.mean(values), stats.sem(values) * (1 + 1 / len(values)) ** 0.5)
    assert (found["low"], found["high"]) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(("groups", "size", "accuracies"), [(44, 1, (0.95, 0.98)), (10, 5, (0.85, 0.92))])
def test_intervals_contain_the_truth_as_often_as_they_say(groups, size, accuracies):
    """The percentile bootstrap has 89 and 88 %, for the difference 87 and 90 %."""
    population = state_population(np.random.default_rng(0), accuracies, size)
    (found,) = measure(population, ["accuracy"], groups=groups, runs=200)
    assert found.given == 1.0 and 0.92 <= found.covers <= 1.0
    assert 0.92 <= found.difference_covers <= 1.0 and found.false_verdicts <= 0.08
