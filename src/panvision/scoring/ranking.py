"""Average precision of a set in which pictures count several times or not at all.

A bootstrap draws pictures with repetitions, and COCO's average precision of such a set needs no new matching: the
boxes of all pictures are sorted by score once, and each counts as often as its picture was drawn. The figures are
those that pycocotools (`COCOeval.accumulate`) gives for the set with its pictures really repeated, each one's copies
next to each other.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from panvision.scoring.matching import BoolArray

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

RECALL_POINTS = np.linspace(0.0, 1.0, 101)


@dataclass(frozen=True, eq=False)
class RankedClass:
    """The D found boxes of one class in N pictures, best first; A area ranges, T IoU thresholds.

    Attributes:
        image: (D,) int64, the picture of each.
        tied: (D,) int64, 0, or the number of a run of boxes of one picture that have the same score, with a true
            positive among them.
        hits: (A, T, D), a true positive.
        counted: (A, T, D), a true or a false positive.
        truths: (A, N) int64, true boxes of each picture that count.
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
        image: (D,), rising: the pictures one after another.
        hits, ignored: (A, T, D), as `matching.Matching` has them.
        truths: (A, N).
    """
    order = np.argsort(-scores, kind="stable")
    score, picture = scores[order], image[order]
    same = np.zeros(len(order) + 1, bool)
    same[1:-1] = (score[1:] == score[:-1]) & (picture[1:] == picture[:-1])
    runs = np.cumsum(~same[:-1])
    # Only what comes before a true positive counts, so the order within a run without one is of no account.
    right = np.bincount(runs, weights=hits[:, :, order].any(axis=(0, 1)), minlength=1)[runs] > 0
    tied = np.where((same[:-1] | same[1:]) & right, runs, 0)
    return RankedClass(picture, tied, hits[:, :, order], ~ignored[:, :, order], truths)


def average_precision(ranked: RankedClass, weights: npt.NDArray[np.int32]) -> FloatArray:
    """Average precision over 101 recall points in R sets.

    Args:
        ranked: N pictures' boxes.
        weights: (R, N), how often each set has each picture.

    Returns:
        (A, T, R) float64; NaN where a set has no true box.
    """
    place, copy = _with_copies(ranked, weights)
    counts = _entry_weights(ranked.image[place], copy, weights)  # (R, E)
    hits, counted = ranked.hits[:, :, place], ranked.counted[:, :, place]
    result = np.empty((*hits.shape[:2], len(weights)))
    for area, truths in enumerate(ranked.truths):
        total = weights @ truths  # (R,)
        reached = _points_reached(total)
        # What counts at the highest threshold mostly does so at every one, so its sum is made once.
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


def precision_curve(ranked: RankedClass) -> FloatArray | None:
    """Precision at each of the 101 recall points, every picture counted once, at the first threshold over all areas.

    Returns:
        (101,); None without a true box.
    """
    total = int(ranked.truths[0].sum())
    if not total:
        return None
    hit = ranked.hits[0, 0]
    found, number = np.cumsum(hit)[hit], np.cumsum(ranked.counted[0, 0])[hit]
    best = np.maximum.accumulate((found / number)[::-1])[::-1]
    first = np.searchsorted(found / total, RECALL_POINTS, side="left")
    return np.append(best, 0.0)[first]


def _area_under(found: IntArray, number: IntArray, reached: npt.NDArray[np.int64]) -> FloatArray:
    """Mean precision over the recall points, (R,).

    Only after a true positive can precision be the largest of all that follow, so nothing else is looked at.

    Args:
        found: (R, H) true positives up to and including each true positive.
        number: (R, H) counted boxes likewise.
        reached: (R, M + 1) recall points that c = 0 … M true positives reach.
    """
    if not found.shape[1]:
        return np.zeros(len(found))
    precision = found / np.maximum(number, 1)
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    points = np.take_along_axis(reached, found, axis=1)
    points[:, 1:] -= points[:, :-1].copy()  # those that are first reached here
    return (best * points).sum(axis=1) / len(RECALL_POINTS)


def _points_reached(total: IntArray) -> npt.NDArray[np.int64]:
    """How many recall points c true positives reach, for c = 0 … the largest total, (R, M + 1).

    With the comparisons of floats that pycocotools makes: 7 of 100 reach the point 0.07 only if 7 / 100 does in binary.
    """
    most = int(total.max(initial=0))
    recall = np.arange(most + 1) / np.maximum(total, 1)[:, None]
    recall = np.minimum(recall, 1.0)
    # Different fractions lie much farther apart than 1e-9, so only the next point needs a look.
    next_point = np.floor(recall * 100.0 + 1e-9).astype(np.int64)
    return next_point + (RECALL_POINTS[next_point] <= recall)


def _with_copies(ranked: RankedClass, weights: npt.NDArray[np.int32]) -> tuple[IntArray, IntArray]:
    """Rows of the ranking as entries, and of which copy of its picture each is; 0: of all copies at once.

    Copies of a box come one after another, so they are one entry with a weight. Where several boxes of a picture share
    a score, whole runs follow each other, and each copy of the run is written out.
    """
    rows = np.arange(len(ranked.image))
    if not ranked.tied.any():
        return rows, np.zeros_like(rows)
    most = weights.max(axis=0, initial=0).astype(np.int64)  # (N,)
    # Sorted by run, then copy, then rank; what stands alone is a run of its own.
    repeats = np.where(ranked.tied > 0, np.maximum(most[ranked.image], 1), 1)
    place = np.repeat(rows, repeats)
    copy = np.concatenate([np.arange(count) for count in repeats]) + 1
    run = np.where(ranked.tied > 0, ranked.tied, 0)[place]
    first = np.where(run > 0, _first_of_run(ranked.tied)[place], place)
    order = np.lexsort((place, copy, first))
    return place[order], np.where(run > 0, copy, 0)[order]


def _first_of_run(tied: IntArray) -> IntArray:
    """For every row the first row of its run."""
    _, first, inverse = np.unique(tied, return_index=True, return_inverse=True)
    return first[inverse]


def _entry_weights(image: IntArray, copy: IntArray, weights: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """How often each set has each entry, (R, E)."""
    counts = weights[:, image]
    written = np.flatnonzero(copy)
    counts[:, written] = counts[:, written] >= copy[written]
    return counts


def best_threshold(scores: npt.ArrayLike, hits: npt.ArrayLike, positives: int) -> float | None:
    """The score from which on to say yes, so that F1 is largest.

    Args:
        scores: (D,) of what was found.
        hits: (D,), whether each is right.
        positives: how many there are to be found.

    Returns:
        Half way between the lowest score that is kept and the next lower one, or 0; of several best the highest.
        None where nothing right was found.
    """
    score, right = np.asarray(scores, np.float64).reshape(-1), np.asarray(hits, bool).reshape(-1)
    order = np.argsort(-score, kind="stable")
    score, right = score[order], right[order]
    if not right.any():
        return None
    found = np.cumsum(right)
    f1 = 2.0 * found / (np.arange(1, len(score) + 1) + positives)
    # Equal scores are kept or left together.
    lower = np.append(score[1:], 0.0)
    last = lower < score
    last[-1] = True
    best = int(np.argmax(np.where(last, f1, -1.0)))
    return float((score[best] + min(lower[best], score[best])) / 2.0)
