"""Average precision of sets that contain an image several times or not at all.

COCO's average precision of such a set needs no new matching: the boxes of all images are sorted by score once, and each
counts as many times as its image. The values equal those of pycocotools (`COCOeval.accumulate`) for the set with its
images really repeated, the copies of each next to each other.
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
        tied: (D,) int64, 0, or the number of a run of boxes of one image with equal scores that includes a true
            positive.
        hits: (A, T, D), True for a true positive.
        counted: (A, T, D), True for a true or a false positive.
        truths: (A, N) int64, true boxes of each image that count.
    """

    image: IntArray
    tied: IntArray
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
    score, owner = scores[order], image[order]
    same = np.zeros(len(order) + 1, bool)
    same[1:-1] = (score[1:] == score[:-1]) & (owner[1:] == owner[:-1])
    runs = np.cumsum(~same[:-1])
    # Only boxes before a true positive matter, so the order within a run without one does not.
    right = np.bincount(runs, weights=hits[:, :, order].any(axis=(0, 1)), minlength=1)[runs] > 0
    tied = np.where((same[:-1] | same[1:]) & right, runs, 0)
    return RankedClass(owner, tied, hits[:, :, order], ~ignored[:, :, order], truths)


def average_precision(ranked: RankedClass, weights: Weights) -> FloatArray:
    """Average precision over 101 recall points in R sets.

    Args:
        ranked: boxes of N images.
        weights: (R, N), how many times each set contains each image.

    Returns:
        (A, T, R) float64; NaN for a set without a true box.
    """
    entry, copy = _with_copies(ranked, weights)
    counts = _entry_weights(ranked.image[entry], copy, weights)  # (R, E)
    hits, counted = ranked.hits[:, :, entry], ranked.counted[:, :, entry]
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


def _with_copies(ranked: RankedClass, weights: Weights) -> tuple[IntArray, IntArray]:
    """Rows of the ranking as entries, and the copy of its image that each belongs to; 0: all copies at once.

    The copies of a box follow each other, so they are one entry with a weight. Where several boxes of an image share a
    score, whole runs follow each other, and each copy of the run has its own entries.
    """
    rows = np.arange(len(ranked.image))
    if not ranked.tied.any():
        return rows, np.zeros_like(rows)
    most = weights.max(axis=0, initial=0).astype(np.int64)  # (N,)
    # Sorted by run, then copy, then rank; a single box is its own run.
    repeats = np.where(ranked.tied > 0, np.maximum(most[ranked.image], 1), 1)
    entry = np.repeat(rows, repeats)
    copy = np.concatenate([np.arange(count) for count in repeats]) + 1
    run = np.where(ranked.tied > 0, ranked.tied, 0)[entry]
    first = np.where(run > 0, _first_of_run(ranked.tied)[entry], entry)
    order = np.lexsort((entry, copy, first))
    return entry[order], np.where(run > 0, copy, 0)[order]


def _first_of_run(tied: IntArray) -> IntArray:
    """Return the first row of each row's run."""
    _, first, inverse = np.unique(tied, return_index=True, return_inverse=True)
    return first[inverse]


def _entry_weights(image: IntArray, copy: IntArray, weights: Weights) -> npt.NDArray[np.int32]:
    """Number of times that each set contains each entry, (R, E)."""
    counts = weights[:, image]
    written = np.flatnonzero(copy)
    counts[:, written] = counts[:, written] >= copy[written]
    return counts
