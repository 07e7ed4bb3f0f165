"""Thresholds of a class: what each one gives, and which is chosen."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from panvision.inference.settings import DecisionSettings
from panvision.scoring.scorer import FloatArray, ratio

# Digits of a chosen threshold; the rest is noise of the sums of floats.
_DIGITS = 6


@dataclass(frozen=True, eq=False)
class Curve:
    """The predictions of one class that T thresholds keep.

    Attributes:
        thresholds: (T,).
        tp, fp: (T,) right and wrong predictions with at least this score.
        positives: number of true objects or images.
    """

    thresholds: FloatArray
    tp: FloatArray
    fp: FloatArray
    positives: int

    @property
    def precision(self) -> FloatArray:
        """Fraction of right predictions, (T,); NaN without a prediction."""
        return ratio(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> FloatArray:
        """Fraction of found objects, (T,); NaN without an object."""
        return ratio(self.tp, np.full_like(self.tp, self.positives))

    @property
    def f1(self) -> FloatArray:
        """Harmonic mean of precision and recall, (T,); NaN without a prediction and an object."""
        return ratio(2.0 * self.tp, self.tp + self.fp + self.positives)

    def cost(self, miss: float, false_alarm: float) -> FloatArray:
        """Cost of all misses and false alarms, (T,)."""
        return miss * (self.positives - self.tp) + false_alarm * self.fp


def threshold_curve(scores: npt.ArrayLike, hits: npt.ArrayLike, positives: int, thresholds: npt.ArrayLike) -> Curve:
    """Count what thresholds keep.

    Args:
        scores: (D,) of the predictions.
        hits: (D,), True for a right prediction.
        positives: number of true objects or images.
        thresholds: (T,).
    """
    values, right = np.asarray(scores, np.float64).reshape(-1), np.asarray(hits, bool).reshape(-1)
    limits = np.asarray(thresholds, np.float64)
    tp, fp = (len(own) - np.searchsorted(np.sort(own), limits) for own in (values[right], values[~right]))
    return Curve(limits, tp.astype(np.float64), fp.astype(np.float64), positives)


def best_threshold(
    scores: npt.ArrayLike, hits: npt.ArrayLike, positives: int, decision: DecisionSettings | None = None
) -> float | None:
    """Choose the score threshold of a class.

    Candidates are the middles between two neighbouring scores, rounded down to six digits, with 0 below the lowest
    score and 1 above the highest. The highest of equally good ones is chosen.

    Args:
        scores: (D,) of the predictions.
        hits: (D,), True for a right prediction.
        positives: number of true objects or images.
        decision: the criterion; by default the highest F1. Where no threshold has `min_precision`, it is the highest
            precision.

    Returns:
        None without a prediction or a true object, and for the criteria `f1` and `precision` without a right
        prediction.
    """
    decision = decision or DecisionSettings()
    values = np.unique(np.asarray(scores, np.float64))[::-1]  # highest first
    if not len(values) or not positives:
        return None
    middles = (np.append(1.0, values) + np.append(values, 0.0)) / 2.0
    curve = threshold_curve(scores, hits, positives, np.floor(middles * 10**_DIGITS) / 10**_DIGITS)
    if decision.criterion == "cost":
        return float(curve.thresholds[np.argmin(curve.cost(decision.costs.miss, decision.costs.false_alarm))])
    if not curve.tp.any():
        return None
    precision = np.nan_to_num(curve.precision)
    enough = precision >= min(decision.min_precision, float(precision.max()))
    goal = curve.f1 if decision.criterion == "f1" else np.where(enough, curve.tp, -1.0)
    return float(curve.thresholds[np.argmax(goal)])
