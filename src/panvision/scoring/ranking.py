"""Average precision of many subsets of the images.

COCO's average precision of a subset needs no new matching: the boxes of all images are sorted by score once, and those
of the other images do not count. The values equal those of pycocotools (`COCOeval.accumulate`) for the subset.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from panvision.scoring.matching import BoolArray
from panvision.scoring.scorer import FloatArray, Weights

IntArray = npt.NDArray[np.int64]

RECALL_POINTS = np.linspace(0.0, 1.0, 101)


@dataclass(frozen=True, eq=False)
class RankedClass:
    """The D predicted boxes of one class in N images, best first; A area ranges, T IoU thresholds.

    Attributes:
        image: (D,) int64, the image of each box.
        hits: (A, T, D), True for a true positive.
        counted: (A, T, D), True for a true or a false positive.
        truths: (A, N) int64, true boxes of each image that count.
    """

    image: IntArray
    hits: BoolArray
    counted: BoolArray
    truths: IntArray


def rank(scores: FloatArray, image: IntArray, hits: BoolArray, ignored: BoolArray, truths: IntArray) -> RankedClass:
    """Sort the boxes of one class.

    Args:
        scores: (D,).
        image: (D,), ascending.
        hits, ignored: (A, T, D), as in `matching.Matching`.
        truths: (A, N).
    """
    order = np.argsort(-scores, kind="stable")
    return RankedClass(image[order], hits[:, :, order], ~ignored[:, :, order], truths)


def average_precision(ranked: RankedClass, weights: Weights) -> FloatArray:
    """Average precision over 101 recall points in R subsets.

    Args:
        ranked: boxes of N images.
        weights: (R, N), 1 if the subset contains the image, else 0.

    Returns:
        (A, T, R) float64; NaN for a subset without a true box.
    """
    counts = weights[:, ranked.image]  # (R, D)
    hits, counted = ranked.hits, ranked.counted
    result = np.empty((*hits.shape[:2], len(weights)))
    for area, truths in enumerate(ranked.truths):
        total = weights @ truths  # (R,)
        reached = _points_reached(total)
        # A box that counts at the highest threshold mostly counts at every one, so that sum is computed once.
        base = counted[area, -1]
        before = np.zeros((len(weights), np.count_nonzero(base) + 1), np.int64)
        np.cumsum(counts[:, base], axis=1, out=before[:, 1:])
        upto = np.cumsum(base)
        for threshold in range(hits.shape[1]):
            hit, here = hits[area, threshold], counted[area, threshold]
            rows = np.flatnonzero(hit | (here != base))
            own = counts[:, rows]
            number = before[:, upto[rows]]
            change = here[rows].astype(np.int64) - base[rows]
            if change.any():
                number = number + np.cumsum(own * change, axis=1)
            keep = hit[rows]
            found = np.cumsum(own[:, keep], axis=1, dtype=np.int64)
            result[area, threshold] = _area_under(found, number[:, keep], reached)
        result[area, :, total == 0] = np.nan
    return result


def _area_under(found: IntArray, number: IntArray, reached: npt.NDArray[np.int64]) -> FloatArray:
    """Mean precision over the recall points, (R,).

    Precision can be the largest of all that follow only after a true positive, so only these are considered.

    Args:
        found: (R, H) true positives up to and including each true positive.
        number: (R, H) counted boxes up to and including each true positive.
        reached: (R, M + 1) recall points reached by c = 0 … M true positives.
    """
    if not found.shape[1]:
        return np.zeros(len(found))
    precision = found / np.maximum(number, 1)
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    points = np.take_along_axis(reached, found, axis=1)
    points[:, 1:] -= points[:, :-1].copy()  # points first reached here
    return (best * points).sum(axis=1) / len(RECALL_POINTS)


def _points_reached(total: IntArray) -> npt.NDArray[np.int64]:
    """Number of recall points that c true positives reach, for c = 0 … the largest total, (R, M + 1).

    Floats are compared as in pycocotools: 7 of 100 reach the point 0.07 only if 7 / 100 does in binary.
    """
    most = int(total.max(initial=0))
    recall = np.arange(most + 1) / np.maximum(total, 1)[:, None]
    recall = np.minimum(recall, 1.0)
    # Different fractions are much farther apart than 1e-9, so only the next point has to be compared.
    next_point = np.floor(recall * 100.0 + 1e-9).astype(np.int64)
    return next_point + (RECALL_POINTS[next_point] <= recall)
