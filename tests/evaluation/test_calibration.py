import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from sklearn.metrics import log_loss

from panvision.evaluation.calibration import (
    HIGHEST,
    LOWEST,
    confidence_bins,
    fit_temperature,
    negative_log_likelihood,
    scale,
)


def random_probabilities(seed, count=40, *, sharpness=1.0):
    random = np.random.default_rng(seed)
    logits = random.normal(0, 2, (count, 4))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    truth = np.array([random.choice(4, p=row) for row in probabilities])
    sharp = np.exp(sharpness * (logits - logits.max(axis=1, keepdims=True)))
    return sharp / sharp.sum(axis=1, keepdims=True), truth


@pytest.mark.parametrize("seed", range(3))
def test_the_loss_is_scikit_learns(seed):
    probabilities, truth = random_probabilities(seed)
    expected = log_loss(truth, probabilities, labels=range(4))
    assert negative_log_likelihood(probabilities, truth).mean() == pytest.approx(expected, abs=1e-9)


def test_scale_equals_scaled_logits():
    logits = np.random.default_rng(0).normal(0, 3, (5, 4))
    for temperature in (0.5, 1.0, 2.0):
        expected = np.exp(logits / temperature) / np.exp(logits / temperature).sum(axis=1, keepdims=True)
        shipped = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        np.testing.assert_allclose(scale(shipped, temperature), expected, atol=1e-12)
    assert np.isfinite(scale([[1.0, 0.0, 0.0]], 0.2)).all()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.sampled_from((0.5, 1.0, 2.0, 3.0)))
def test_the_temperature_is_the_best_there_is(seed, sharpness):
    probabilities, truth = random_probabilities(seed, sharpness=sharpness)
    best = minimize_scalar(
        lambda value: negative_log_likelihood(scale(probabilities, value), truth).mean(),
        bounds=(LOWEST, HIGHEST),
        method="bounded",
        options={"xatol": 1e-9},
    )
    found = fit_temperature(probabilities, truth)
    assert found == pytest.approx(best.x, rel=1e-4)


def test_fit_temperature_inverts_sharpening():
    probabilities, truth = random_probabilities(0, count=4000, sharpness=2.0)
    assert fit_temperature(probabilities, truth) == pytest.approx(2.0, rel=0.05)


def test_fit_temperature_limits():
    assert fit_temperature([[0.9, 0.1], [0.2, 0.8]], [0, 1]) == pytest.approx(LOWEST, rel=1e-5)
    assert fit_temperature([[0.9, 0.1], [0.2, 0.8]], [1, 0]) == pytest.approx(HIGHEST, rel=1e-5)
    assert fit_temperature(np.zeros((0, 2)), []) is None
    assert fit_temperature([[1.0]], [0]) is None


def test_bins_hold_their_upper_limit():
    assert confidence_bins([0.0, 1 / 15, 1 / 15 + 1e-9, 0.5, 1.0]).tolist() == [0, 0, 1, 7, 14]
