"""Calibration of probabilities: expected calibration error and temperature scaling (Guo et al. 2017)."""

import math

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

BINS = 15
# Range of the search.
LOWEST, HIGHEST = 0.05, 5.0
# The smallest normal float32 replaces probabilities that softmax rounded to 0.
_LEAST = float(np.finfo(np.float32).tiny)


def confidence_bins(confidence: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Bin of each confidence, 0 to BINS - 1: equal widths, the upper limit belongs to the bin."""
    values = np.asarray(confidence, np.float64)
    return np.clip(np.ceil(values * BINS).astype(np.int64) - 1, 0, BINS - 1)


def scale(probabilities: npt.ArrayLike, temperature: float) -> FloatArray:
    """Divide the logarithms of probabilities (N, C) by a temperature, which equals scaling the logits."""
    scaled = np.log(np.maximum(np.asarray(probabilities, np.float64), _LEAST)) / temperature
    powers = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def negative_log_likelihood(probabilities: npt.ArrayLike, truth: npt.ArrayLike) -> FloatArray:
    """-log of the probability of the true class, (N,), from (N, C) and class indexes (N,)."""
    values = np.asarray(probabilities, np.float64)
    own = np.take_along_axis(values, np.asarray(truth, np.int64)[:, None], axis=1)[:, 0]
    return -np.log(np.maximum(own, _LEAST))


def fit_temperature(probabilities: npt.ArrayLike, truth: npt.ArrayLike) -> float | None:
    """Find the temperature from LOWEST to HIGHEST with the least mean cross-entropy.

    The targets are those of Platt 1999, section 2.2: of N images (N + 1) / (N + 2) for the true class, and the rest
    shared by the others. A few images that are all predicted right would otherwise ask for certainty.

    Args:
        probabilities: (N, C), of the validation split.
        truth: (N,) class indexes.

    Returns:
        None without an image, or with fewer than two classes.
    """
    values, labels = np.asarray(probabilities, np.float64), np.asarray(truth, np.int64)
    if not labels.size or values.shape[1] < 2:
        return None
    count, classes = values.shape
    targets = np.full((count, classes), 1.0 / (count + 2) / (classes - 1))
    np.put_along_axis(targets, labels[:, None], (count + 1) / (count + 2), axis=1)
    logits = np.log(np.maximum(values, _LEAST))

    def loss(logarithm: float) -> float:
        scaled = logits / math.exp(logarithm)
        largest = scaled.max(axis=1, keepdims=True)
        log_p = scaled - largest - np.log(np.exp(scaled - largest).sum(axis=1, keepdims=True))
        return float(-(targets * log_p).sum(axis=1).mean())

    # The loss is convex in 1 / temperature, so a golden-section search over its logarithm finds the only minimum.
    ratio = (math.sqrt(5.0) - 1.0) / 2.0
    low, high = math.log(LOWEST), math.log(HIGHEST)
    inner = [high - ratio * (high - low), low + ratio * (high - low)]
    losses = [loss(inner[0]), loss(inner[1])]
    for _ in range(40):  # the span shrinks to 1e-8
        if losses[0] <= losses[1]:
            high, inner, losses = inner[1], [inner[1] - ratio * (inner[1] - low), inner[0]], [0.0, losses[0]]
            losses[0] = loss(inner[0])
        else:
            low, inner, losses = inner[0], [inner[1], inner[0] + ratio * (high - inner[0])], [losses[1], 0.0]
            losses[1] = loss(inner[1])
    # Six digits: the rest is noise of the search.
    return round(math.exp((low + high) / 2.0), 6)
