"""Statistics of usual images: a shrunk covariance, and limits that few usual values exceed."""

import math
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


class Whitening(NamedTuple):
    """Classes of one common covariance, in its principal directions.

    Attributes:
        mean: (D,) of all samples.
        directions: (D, k), each divided by the standard deviation of the classes' samples along it, the widest first.
        centres: (C, k) means of the classes after subtraction of `mean`, along the directions.
    """

    mean: FloatArray
    directions: FloatArray
    centres: FloatArray


def whiten(features: npt.ArrayLike, labels: npt.ArrayLike, classes: int, *, most: int) -> Whitening:
    """Fit one covariance to the samples of all classes, each around its class mean, shrunk after `ledoit_wolf`.

    Args:
        features: (N, D), N ≥ 2. They are standardised first, so that shrinkage does not favour large features.
        labels: (N,) class indexes; a class without a sample has the mean of all samples.
        classes: number of classes C.
        most: largest number of directions k, the widest ones.
    """
    values, own = np.asarray(features, np.float64), np.asarray(labels, np.int64)
    mean, scale = values.mean(axis=0), values.std(axis=0)
    # A feature that is constant in training is not used.
    scale = np.where(scale > 1e-6 * (1.0 + np.abs(mean)), scale, np.inf)
    standard = (values - mean) / scale  # (N, D)
    means = np.stack([standard[own == c].mean(axis=0) if (own == c).any() else 0.0 * mean for c in range(classes)])
    variances, axes = np.linalg.eigh(ledoit_wolf(standard - means[own]))
    kept = min(most, len(mean))
    directions = axes[:, ::-1][:, :kept] / np.sqrt(variances[::-1][:kept])
    return Whitening(mean, directions / scale[:, None], means @ directions)


def ledoit_wolf(centred: FloatArray) -> FloatArray:
    """Covariance (D, D) of centred samples (N, D), shrunk towards a multiple of the identity.

    The weight is that of Ledoit & Wolf 2004, A well-conditioned estimator for large-dimensional covariance matrices.
    """
    count, size = centred.shape
    sample = centred.T @ centred / count
    target = np.trace(sample) / size
    spread = float(((sample - target * np.eye(size)) ** 2).sum())
    squares = centred**2
    error = float((squares.T @ squares / count - sample**2).sum()) / count
    weight = min(1.0, error / spread) if spread > 0.0 else 1.0
    shrunk = (1.0 - weight) * sample + weight * target * np.eye(size)
    # Identical samples have no variance at all.
    return shrunk + 1e-9 * max(target, 1.0) * np.eye(size)


def usual(values: npt.ArrayLike) -> BoolArray:
    """True for the values within 5 + 40 / N standard deviations of the median, (N,).

    The standard deviation is 1.4826 times the median absolute deviation, which a few bad values do not change. The
    margin is wider for few values, whose deviation is uncertain: of 5 to 200 normal values, one is outside in at most
    1 % of all draws.
    """
    numbers = np.asarray(values, np.float64)
    away = np.abs(numbers - np.median(numbers))
    # With more than half of the values equal, the median absolute deviation is 0.
    deviation = 1.4826 * float(np.median(away)) or float(numbers.std(ddof=1))
    return np.asarray(away <= (5.0 + 40.0 / len(numbers)) * deviation)


def upper_limit(values: npt.ArrayLike, rejected: float) -> float:
    """Limit that at most a fraction `rejected` of the usual values exceeds, above 0 and below 1.

    One bad value would raise the limit up to itself, so only `usual` values count. With few values the largest one says
    little of the next thousand, so the limit is at least the quantile of the normal distribution with their mean and
    standard deviation.

    Args:
        values: (N,), N ≥ 2, of a distribution that is about normal.
        rejected: largest fraction of values above the limit.
    """
    numbers = np.asarray(values, np.float64)
    ordered = np.sort(numbers[usual(numbers)])[::-1]
    quantile = float(ordered.mean() + NormalDist().inv_cdf(1.0 - rejected) * ordered.std(ddof=1))
    return max(float(ordered[math.floor(rejected * len(ordered))]), quantile)
