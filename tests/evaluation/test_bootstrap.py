import numpy as np
import pytest

from panvision.evaluation.bootstrap import drawn, percentile_interval, resampled

FIRST_DRAWS = [[2, 1, 0], [0, 2, 1], [2, 0, 1]]  # of a, b and c
GROUPS = ["b", "a", "b", "c", "a", "b"]


def weights_of(groups, resamples=120, seed=0):
    return np.concatenate(list(drawn(groups, resamples, seed)))


def test_whole_groups_are_drawn_as_many_as_there_are():
    weights = weights_of(GROUPS)
    assert weights.shape == (120, 6)
    assert (weights[:, [0, 1, 3]].sum(axis=1) == 3).all()  # one picture of each group
    assert (weights[:, 0] == weights[:, 2]).all() and (weights[:, 0] == weights[:, 5]).all()
    assert len(np.unique(weights, axis=0)) > 5


def test_drawn_depends_on_seed_and_groups():
    assert (weights_of(GROUPS) == weights_of(GROUPS)).all()
    assert (weights_of(GROUPS) != weights_of(GROUPS, seed=1)).any()
    assert (weights_of(GROUPS)[:50] == weights_of(GROUPS, resamples=50)).all()
    order = [5, 3, 1, 0, 2, 4]
    assert (weights_of([GROUPS[row] for row in order]) == weights_of(GROUPS)[:, order]).all()
    # NumPy's frozen stream: these very numbers on every machine.
    assert weights_of(GROUPS, resamples=3)[:, [1, 0, 3]].tolist() == FIRST_DRAWS


def test_interval_of_a_normal_mean():
    """Of a normal sample the percentile interval of the mean is close to the mean ± 1.96 standard errors."""
    values = np.random.default_rng(0).normal(5, 2, 200)
    spread = resampled(
        lambda weights: {"mean": weights @ values / 200}, [str(row) for row in range(200)], resamples=4000, seed=0
    )
    interval = percentile_interval(spread["mean"])
    error = values.std() / np.sqrt(200)
    assert interval["low"] == pytest.approx(values.mean() - 1.96 * error, abs=0.1 * error)
    assert interval["high"] == pytest.approx(values.mean() + 1.96 * error, abs=0.1 * error)


def test_interval_of_a_metric_of_one_group_is_none():
    def share(holders):
        def figures(weights):
            own = weights[:, :holders].sum(axis=1)
            return {"share": np.where(own > 0, 1.0, np.nan)}

        spread = resampled(figures, [str(row) for row in range(20)], resamples=1000, seed=0)
        return percentile_interval(spread["share"])

    assert share(1) is None
    assert share(2) == {"low": 1.0, "high": 1.0}


def test_resampled_with_one_group_is_empty():
    values = np.array([0.0, 0.5, 1.0])

    def figures(weights):
        return {"mean": weights @ values / weights.sum(axis=1)}

    assert percentile_interval(resampled(figures, ["burst"] * 3, resamples=100, seed=0).get("mean")) is None
    two = percentile_interval(resampled(figures, ["burst", "burst", "other"], resamples=100, seed=0)["mean"])
    assert two == {"low": 0.25, "high": 1.0}


def test_resampled_without_images():
    assert resampled(lambda weights: {"a": np.ones(len(weights))}, [], resamples=10, seed=0) == {}
    assert resampled(lambda weights: {"a": np.ones(len(weights))}, ["g"], resamples=0, seed=0) == {}
    assert percentile_interval(None) is None and percentile_interval(np.zeros(0)) is None
