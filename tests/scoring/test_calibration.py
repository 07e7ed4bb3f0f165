import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from sklearn.metrics import log_loss

from panvision.scoring.calibration import (
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


def test_scaled_probabilities_are_those_of_scaled_logits():
    logits = np.random.default_rng(0).normal(0, 3, (5, 4))
    for temperature in (0.5, 1.0, 2.0):
        expected = np.exp(logits / temperature) / np.exp(logits / temperature).sum(axis=1, keepdims=True)
        shipped = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        np.testing.assert_allclose(scale(shipped, temperature), expected, atol=1e-12)
    assert np.isfinite(scale([[1.0, 0.0, 0.0]], 0.2)).all()


def smoothed_loss(probabilities, truth, temperature):
    """Mean cross-entropy with Platt's targets."""
    count, classes = probabilities.shape
    targets = np.full((count, classes), 1 / (count + 2) / (classes - 1))
    targets[np.arange(count), truth] = (count + 1) / (count + 2)
    return -(targets * np.log(scale(probabilities, temperature))).sum(axis=1).mean()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.sampled_from((0.5, 1.0, 2.0, 3.0)))
def test_the_temperature_is_the_best_there_is(seed, sharpness):
    probabilities, truth = random_probabilities(seed, sharpness=sharpness)
    best = minimize_scalar(
        lambda value: smoothed_loss(probabilities, truth, value),
        bounds=(LOWEST, HIGHEST),
        method="bounded",
        options={"xatol": 1e-9},
    )
    assert fit_temperature(probabilities, truth) == pytest.approx(best.x, rel=1e-4)


@pytest.mark.parametrize("sharpness", [0.1, 2.0])
def test_a_sharpened_model_is_cooled_by_what_it_was_sharpened(sharpness):
    probabilities, truth = random_probabilities(0, count=4000, sharpness=sharpness)
    assert fit_temperature(probabilities, truth) == pytest.approx(sharpness, rel=0.05)


@pytest.mark.parametrize("count", [2, 10, 50])
def test_confidence_after_few_correct_images_is_limited(count):
    """Platt's targets limit it; without them it would be certainty, at the lower limit of the search."""
    truth = np.arange(count) % 2
    probabilities = np.where(truth[:, None] == [0, 1], 0.7, 0.3)
    confidence = scale(probabilities, fit_temperature(probabilities, truth)).max(axis=1).mean()
    assert confidence == pytest.approx((count + 1) / (count + 2), abs=1e-4)


def test_limits_and_nothing_to_fit():
    probabilities = np.array([[0.5001, 0.4999]] * 50)
    assert fit_temperature(probabilities, np.zeros(50, int)) == pytest.approx(LOWEST, rel=1e-5)
    assert fit_temperature([[0.9, 0.1], [0.2, 0.8]], [1, 0]) == pytest.approx(HIGHEST, rel=1e-5)
    assert fit_temperature(np.zeros((0, 2)), []) is None
    assert fit_temperature([[1.0]], [0]) is None


def test_bins_hold_their_upper_limit():
    assert confidence_bins([0.0, 1 / 15, 1 / 15 + 1e-9, 0.5, 1.0]).tolist() == [0, 0, 1, 7, 14]
