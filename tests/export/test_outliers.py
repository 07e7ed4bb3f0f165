import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from panvision.export.outliers import ledoit_wolf, upper_limit, usual, whiten


@given(arrays(np.float64, st.integers(5, 200), elements=st.floats(-100, 100)), st.floats(0.001, 0.5))
def test_upper_limit_rejects_at_most_the_fraction(values, rejected) -> None:
    assert (values[usual(values)] > upper_limit(values, rejected)).mean() <= rejected


@given(st.integers(0, 999), st.integers(8, 200), st.floats(10, 1e6), st.sampled_from([-1, 1]))
def test_upper_limit_ignores_a_bad_value(seed, count, bad, sign) -> None:
    good = np.random.default_rng(seed).normal(size=count)
    values = np.append(good, sign * bad * (5 + 40 / count))
    assert not usual(values)[-1]
    kept = good[usual(values)[:-1]]
    # Of few values another one may be unusual among those that were kept.
    assume(usual(kept).all())
    assert upper_limit(values, 0.01) == pytest.approx(upper_limit(kept, 0.01))


def test_usual_values_are_all_of_a_normal_distribution() -> None:
    random = np.random.default_rng(0)
    far = [(~usual(random.normal(size=count))).any() for count in (5, 10, 50) for _ in range(500)]
    assert np.mean(far) < 0.02


def test_usual_values_of_equal_ones_are_those() -> None:
    assert usual(np.ones(20)).all()
    assert usual(np.append(np.ones(48), 2.0)).tolist() == [True] * 48 + [False]


def test_upper_limit_of_few_values_is_a_normal_quantile() -> None:
    random = np.random.default_rng(0)
    limits = [upper_limit(random.normal(size=20), 0.001) for _ in range(500)]
    # The largest of 20 values is 1.87 on average, and exceeded by 3 % of the others.
    assert np.mean(limits) == pytest.approx(3.09, abs=0.1)
    assert upper_limit(random.normal(size=100_000), 0.01) == pytest.approx(2.326, abs=0.05)


def test_ledoit_wolf_shrinks_more_with_fewer_samples() -> None:
    random = np.random.default_rng(0)
    true = np.diag(np.linspace(1.0, 4.0, 20))

    def fitted(count):
        return ledoit_wolf(random.normal(size=(count, 20)) * np.sqrt(np.diag(true)))

    np.testing.assert_allclose(fitted(200_000), true, atol=0.05)
    # With fewer samples than features it can be inverted, and is closer to the truth than the sample covariance.
    few = fitted(10)
    assert np.linalg.eigvalsh(few).min() > 0.1


def test_whitened_samples_of_each_class_have_unit_variance() -> None:
    random = np.random.default_rng(0)
    labels = np.arange(3000) % 3
    mixing = random.normal(size=(6, 6))
    features = random.normal(size=(3000, 6)) @ mixing + np.array([[0.0], [50.0], [-20.0]])[labels] + 7.0
    found = whiten(features, labels, 3, most=4)
    assert found.directions.shape == (6, 4) and found.centres.shape == (3, 4)
    rest = (features - found.mean) @ found.directions - found.centres[labels]
    np.testing.assert_allclose(np.cov(rest.T), np.eye(4), atol=0.05)


def test_constant_features_and_empty_classes_are_finite() -> None:
    features = np.concatenate([np.ones((20, 3)), np.random.default_rng(0).normal(size=(20, 2))], axis=1)
    found = whiten(features, np.zeros(20, int), 2, most=99)
    assert all(np.isfinite(part).all() for part in found)
    assert not found.directions[:3].any() and not found.centres[1].any()
    assert all(np.isfinite(part).all() for part in whiten(np.ones((20, 3)), np.zeros(20, int), 1, most=9))
