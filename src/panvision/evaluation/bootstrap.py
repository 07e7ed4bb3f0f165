"""The percentile bootstrap over groups of images (Efron 1979; Davison and Hinkley 1997 on resampling of clusters)."""

from collections.abc import Iterator, Sequence

import numpy as np

from panvision.scoring.scorer import FloatArray, Tally, Weights

Interval = dict[str, float]

# Sets drawn at a time: the sums over their boxes fit a processor's cache.
BLOCK = 50
# A metric that is undefined in a larger fraction of the sets depends on a single group (one of G is missing in 37 % of
# the sets, one of two in 14 %), so its spread is unknown.
MOST_UNDEFINED = 0.2


def drawn(groups: Sequence[str], resamples: int, seed: int) -> Iterator[Weights]:
    """Draw R sets, each of as many groups as there are, with repetition.

    Args:
        groups: the group of each of N images.
        resamples: R.
        seed: the same groups and seed give the same sets, in any order of the images.

    Yields:
        (≤ BLOCK, N) int32, how many times each set contains each image; R rows in total.
    """
    names, number = np.unique(np.asarray(groups, dtype=np.str_), return_inverse=True)
    # RandomState's stream is frozen; Generator's may change from one NumPy to the next.
    random = np.random.RandomState(seed)
    for start in range(0, resamples, BLOCK):
        rows = min(BLOCK, resamples - start)
        draws = random.randint(0, len(names), (rows, len(names)))
        counts = np.array([np.bincount(draw, minlength=len(names)) for draw in draws], np.int32)
        yield counts[:, number]


def resampled(metrics: Tally, groups: Sequence[str], *, resamples: int, seed: int) -> dict[str, FloatArray]:
    """Return every metric in every set of `drawn`, (R,); empty with fewer than two groups or without a resample.

    With a single group all sets are equal, so the spread of a metric is unknown.
    """
    if len(set(groups)) < 2:
        return {}
    blocks = [metrics(weights) for weights in drawn(groups, resamples, seed)]
    return {name: np.concatenate([block[name] for block in blocks]) for name in (blocks[0] if blocks else ())}


def percentile_interval(values: FloatArray | None) -> Interval | None:
    """Return the middle 95 % of a metric's values, `{"low", "high"}`.

    Args:
        values: (R,), NaN where undefined.

    Returns:
        None without a value, or if more than a fifth is undefined.
    """
    if values is None or not len(values):
        return None
    defined = values[~np.isnan(values)]
    if len(defined) < (1.0 - MOST_UNDEFINED) * len(values):
        return None
    low, high = np.percentile(defined, (2.5, 97.5))
    return {"low": float(low), "high": float(high)}
