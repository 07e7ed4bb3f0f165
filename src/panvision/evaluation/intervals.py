"""95 % intervals of metrics, and of differences between two models, from groups of images.

Every metric has the same method. Its variance is that of the delete-a-group jackknife (Efron and Stein 1981). The
interval of a value is Wilson's score interval (1927) with the sample size that this variance implies, as of a
proportion with a design effect (Dean and Pagano 2015), and Student's t; that of a proportion of the groups, such as
the accuracy of independent images, is Wilson's own. The average precision of few images is too high, because precision
is interpolated to the highest that follows; its interval is corrected by the bias that random halves of the groups
show. The interval of a difference is the normal interval with one more group that differs, after the
pseudo-observations of Agresti and Min 2005. `benchmarks/coverage.py` measures how often they contain the truth.
"""

from collections.abc import Sequence
from math import inf, isclose, isnan
from statistics import NormalDist
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from panvision.scoring.scorer import FloatArray, Tally

Interval = dict[str, float]
# Why there is no interval: the metric is undefined; fewer than FEWEST_GROUPS groups contribute to it; it is undefined
# without one of the groups; it is unbounded and no group differs; few images bias it by more than its spread.
Reason = Literal["undefined", "few_groups", "one_group", "no_spread", "biased"]
# Lowest and highest possible value.
Range = tuple[float, float]
UNIT: Range = (0.0, 1.0)

FEWEST_GROUPS = 10
# More groups are joined into as many sets, which limits the time.
MOST_SETS = 500
# Sets scored at a time: the sums over their boxes fit a processor's cache.
BLOCK = 50
# Pairs of random halves that estimate the bias.
HALVES = 40
ROUNDING = 1e-12


class Spread(NamedTuple):
    """A metric, and how it varies with the groups of images.

    Attributes:
        value: of all images; NaN if undefined.
        groups: number of groups that contribute: alone they define the metric, or the metric changes without them.
        differing: number of groups that alone have another value than 0; of a difference, those in which models differ.
        variance: of the value; NaN if the metric is undefined without one of the groups.
        bias: of the value, as `half_biases` returns it; 0 if it is not corrected.
    """

    value: float
    groups: int
    differing: int
    variance: float
    bias: float = 0.0

    @property
    def obstacle(self) -> Reason | None:
        """Reason against any interval."""
        if isnan(self.value):
            return "undefined"
        if self.groups < FEWEST_GROUPS:
            return "few_groups"
        return "one_group" if isnan(self.variance) else None


def jackknife(metrics: Tally, groups: Sequence[str]) -> dict[str, Spread]:
    """Score all images, then all but those of one group, for each group.

    Args:
        metrics: a task's metrics from weights.
        groups: the group of each of N images; their order does not matter.
    """
    number, sets = _sets(groups)
    whole = metrics(np.ones((1, len(number)), np.int32))
    alone: dict[str, list[FloatArray]] = {name: [] for name in whole}
    without: dict[str, list[FloatArray]] = {name: [] for name in whole}
    for start in range(0, sets, BLOCK):
        own = number % sets == np.arange(start, min(start + BLOCK, sets))[:, None]
        for found, weights in ((alone, own), (without, ~own)):
            for name, values in metrics(weights.astype(np.int32)).items():
                found[name].append(values)
    return {
        name: _spread(float(value[0]), *(np.concatenate([np.zeros(0), *each[name]]) for each in (alone, without)))
        for name, value in whole.items()
    }


def half_biases(metrics: Tally, groups: Sequence[str]) -> dict[str, float]:
    """Estimate from random halves of the groups by how much each metric is too high.

    It is 0 where a half leaves the metric undefined, and where it would be negative: interpolation only raises the
    average precision, so that is noise.

    Args:
        metrics, groups: as of `jackknife`.
    """
    number, sets = _sets(groups)
    random = np.random.default_rng(0)
    first = np.zeros((HALVES, sets), np.int32)
    for row in first:
        row[random.permutation(sets)[: sets // 2]] = 1
    members = np.concatenate([np.ones((1, sets), np.int32), first, 1 - first])[:, number % max(sets, 1)]
    # In proportion to 1 / √n, as the simulated bias of the average precision.
    found = {name: float(values[1:].mean() - values[0]) / (2**0.5 - 1) for name, values in metrics(members).items()}
    return {name: 0.0 if isnan(bias) else max(bias, 0.0) for name, bias in found.items()}


def _sets(groups: Sequence[str]) -> tuple[npt.NDArray[np.intp], int]:
    """Number the groups of N images, (N,), and return how many sets they are joined into, by the number modulo that."""
    names, number = np.unique(np.asarray(groups, dtype=np.str_), return_inverse=True)
    return number, -(-len(names) // -(-len(names) // MOST_SETS)) if len(names) else 0


def _spread(value: float, alone: FloatArray, without: FloatArray) -> Spread:
    change = without - value
    change[np.abs(change) <= ROUNDING] = 0.0
    groups = int((~np.isnan(alone) | (np.abs(change) > 0.0)).sum())
    # A sum over nothing is 0; a mean would be NaN with a warning.
    count = max(len(change), 1)
    variance = (count - 1) / count * float(np.sum((change - change.sum() / count) ** 2))
    return Spread(value, groups, int((np.abs(alone) > ROUNDING).sum()), variance)


def value_interval(spread: Spread, limits: Range = UNIT, level: float = 0.95) -> Interval | Reason:
    """Return the interval of a metric, `{"low", "high"}`, or why there is none.

    The variance of a bounded metric shrinks towards its bounds, in proportion to v (M - v) for the range 0 to M. So
    the interval contains every μ with |c - μ| ≤ t · √(variance · μ (M - μ) / (v (M - v))), where c is v less its bias.
    It stays within the range and contains v.
    Where the metric of each group is either the lowest or the highest value, all of equal weight, the variance follows
    from μ: t is the normal quantile, and the variance μ (M - μ) / groups. So it is where no group differs.

    Args:
        spread: of the metric.
        limits: lowest and highest possible value; the highest may be infinite.
        level: probability of containing the true value.
    """
    if spread.obstacle is not None:
        return spread.obstacle
    top = limits[1] - limits[0]
    own = min(max(spread.value - limits[0], 0.0), top)
    if abs(own + limits[0] - spread.value) > ROUNDING:
        raise ValueError(f"{spread.value}: not within {limits}; give the metric's range in `Evaluation.ranges`")
    value = min(max(own - spread.bias, 0.0), top)
    equal = spread.variance == 0.0 or own in (0.0, top)
    if equal and top == inf:
        return "no_spread"
    if equal or (top < inf and isclose(spread.variance * (spread.groups - 1), own * (top - own))):
        quantile, per_value = NormalDist().inv_cdf(0.5 + level / 2.0), top / spread.groups
    else:
        quantile, per_value = student(level, spread.groups - 1), spread.variance / (own * (1.0 - own / top))
    squared = quantile**2
    scale = 1.0 + squared * per_value / top
    centre = value + squared * per_value / 2.0
    half = (squared * (value * per_value * (1.0 - value / top) + squared * per_value**2 / 4.0)) ** 0.5
    # The product of both roots is value² / scale; a difference would be inexact near 0.
    low, high = value**2 / (centre + half), (centre + half) / scale
    return {"low": limits[0] + min(low, own), "high": limits[0] + min(max(high, own), top)}


def difference_interval(spread: Spread, limits: Range = UNIT, level: float = 0.95) -> Interval | Reason:
    """Return the interval of a difference of two models on the same images, or why there is none.

    It is the normal interval as if one more group differed. If none differs, that one has the largest possible
    difference. Student's t was wider than needed: it covers 98 to 100 % of the differences of an accuracy.

    Args:
        spread: of the difference.
        limits: lowest and highest possible value of the metric.
        level: probability of containing the true difference.
    """
    if spread.obstacle is not None:
        return spread.obstacle
    reach = limits[1] - limits[0]
    if spread.variance or spread.differing:
        variance = spread.variance * (1.0 + 1.0 / max(spread.differing, 1))
    elif reach < inf:
        variance = reach**2 / (spread.groups * (spread.groups - 1))
    else:
        return "no_spread"
    half = NormalDist().inv_cdf(0.5 + level / 2.0) * variance**0.5
    return {"low": max(spread.value - half, -reach), "high": min(spread.value + half, reach)}


def student(level: float, freedom: int) -> float:
    """Quantile of Student's t that has `level` of the distribution between it and its negative.

    Four terms of the expansion of Abramowitz and Stegun 1964, 26.7.5; from 9 degrees of freedom on, the error is below
    1e-4 at 95 %.
    """
    z = NormalDist().inv_cdf(0.5 + level / 2.0)
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return sum(term / freedom**power for power, term in enumerate(terms))
