"""The interface of a task's scorer, and the arithmetic that scorers share."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
# (R, N): 1 where one of R subsets contains one of N images, else 0.
Weights = npt.NDArray[np.int32]
# Metric → (R,), NaN where undefined. A dot separates a metric from a class: `recall.burnt`.
MetricsBySet = dict[str, FloatArray]
Tally = Callable[[Weights], MetricsBySet]


class Scorer(NamedTuple):
    """A row of `SCORERS`.

    The truth of an image is that of its dataset: `{"mask": (H, W)}` (not 0 on the pan), `{"boxes": (M, 4), "labels":
    (M,)}` (and `crowds`, `crowd_labels`, if any) or `{"class_idx": int}`, in the same pixels as the prediction.

    Attributes:
        compare: (the task's part of an image's result, truth) → what the metrics need of this image.
        tally: (these of N images, class names) → a function from weights to metrics.
        calibrate: these of the validation split → values of `decoding.decoder.ModelShape` that fit them best. None if
            the task has none.
    """

    compare: Callable[[Any, Any], Any]
    tally: Callable[[Sequence[Any], Sequence[str]], Tally]
    calibrate: Callable[[Sequence[Any]], dict[str, float]] | None = None


def ratio(part: npt.NDArray[Any], whole: npt.NDArray[Any]) -> FloatArray:
    """Part of a whole, NaN where the whole is 0."""
    return np.divide(part, whole, out=np.full(np.shape(part), np.nan), where=np.asarray(whole) > 0)


def mean(values: FloatArray) -> FloatArray:
    """Mean of the defined values over the first axis, NaN where none is defined."""
    known = ~np.isnan(values)
    return ratio(np.where(known, values, 0.0).sum(axis=0), known.sum(axis=0))


def one_hot(index: npt.NDArray[np.int64], size: int) -> FloatArray:
    """Indexes (N,) as rows (N, size) with a single 1."""
    return (index[:, None] == np.arange(size)).astype(np.float64)
