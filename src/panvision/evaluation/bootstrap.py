"""The percentile bootstrap over groups of pictures (Efron 1979; Davison and Hinkley 1997 on resampling of clusters)."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
Weights = npt.NDArray[np.int32]
Interval = dict[str, float]
# Weights (R, N) → figures by name, each (R,), NaN where undefined.
Figures = Callable[[Weights], Mapping[str, FloatArray]]

# Sets drawn at a time: the sums over boxes of so many fit a processor's cache.
BLOCK = 50
# A figure that more of the sets leave undefined rests on a single group (one of G is missing in 37 % of them, one of
# two in 14 %), and says nothing of its spread.
MOST_UNDEFINED = 0.2


def drawn(groups: Sequence[str], resamples: int, seed: int) -> Iterator[Weights]:
    """Draw as many groups as there are, with repetitions, again and again.

    Args:
        groups: the group of each of N pictures.
        resamples: R.
        seed: of the draws; the same groups and seed give the same sets, whatever the order of the pictures.

    Yields:
        (≤ BLOCK, N) int32, how often each set has each picture; R rows in all.
    """
    names, number = np.unique(np.asarray(groups, dtype=np.str_), return_inverse=True)
    # RandomState's stream is frozen; Generator's may change from one NumPy to the next.
    random = np.random.RandomState(seed)
    for start in range(0, resamples, BLOCK):
        rows = min(BLOCK, resamples - start)
        draws = random.randint(0, len(names), (rows, len(names)))
        counts = np.array([np.bincount(draw, minlength=len(names)) for draw in draws], np.int32)
        yield counts[:, number]


def resampled(figures: Figures, groups: Sequence[str], *, resamples: int, seed: int) -> dict[str, FloatArray]:
    """Every figure in every set that `drawn` gives, (R,); empty with less than two groups, or without a resample.

    Every set that is drawn from a single group is that group, which says nothing of a figure's spread.
    """
    if len(set(groups)) < 2:
        return {}
    blocks = [figures(weights) for weights in drawn(groups, resamples, seed)]
    return {name: np.concatenate([block[name] for block in blocks]) for name in (blocks[0] if blocks else ())}


def percentile_interval(values: FloatArray | None) -> Interval | None:
    """The middle 95 % of a figure's values, `{"low", "high"}`.

    Args:
        values: (R,), NaN where undefined.

    Returns:
        None without a value, or where more than a fifth is undefined.
    """
    if values is None or not len(values):
        return None
    defined = values[~np.isnan(values)]
    if len(defined) < (1.0 - MOST_UNDEFINED) * len(values):
        return None
    low, high = np.percentile(defined, (2.5, 97.5))
    return {"low": float(low), "high": float(high)}
