"""The threshold with the best F1."""

import numpy as np
import numpy.typing as npt


def best_threshold(scores: npt.ArrayLike, hits: npt.ArrayLike, positives: int) -> float | None:
    """Find the score threshold with the largest F1.

    Args:
        scores: (D,) of the predictions.
        hits: (D,), True for a right prediction.
        positives: number of true objects or images.

    Returns:
        The middle between the lowest score that is kept and the next lower one, or 0; the highest of equally good
        thresholds. None without a right prediction.
    """
    score, right = np.asarray(scores, np.float64).reshape(-1), np.asarray(hits, bool).reshape(-1)
    order = np.argsort(-score, kind="stable")
    score, right = score[order], right[order]
    if not right.any():
        return None
    found = np.cumsum(right)
    f1 = 2.0 * found / (np.arange(1, len(score) + 1) + positives)
    # Equal scores are kept or dropped together.
    lower = np.append(score[1:], 0.0)
    last = lower < score
    last[-1] = True
    best = int(np.argmax(np.where(last, f1, -1.0)))
    return float((score[best] + min(lower[best], score[best])) / 2.0)
