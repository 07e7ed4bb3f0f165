"""Mean IoU and Dice of a set of masks: the pixels of all images are summed before any ratio is taken."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from panvision.scoring.scorer import MetricsBySet, Scorer, Tally, Weights, mean, ratio

Counts = npt.NDArray[np.int64]


def pixel_counts(truth: npt.NDArray[Any], predicted: npt.NDArray[Any]) -> Counts:
    """Count the pixels of one image.

    Args:
        truth: (H, W), not 0 on the pan.
        predicted: (H, W), not 0 on the pan.

    Returns:
        (4,) int64: true positives, false positives, false negatives, true negatives.

    Raises:
        ValueError: the shapes differ.
    """
    if truth.shape != predicted.shape:
        raise ValueError(f"mask: the truth has shape {truth.shape}, the prediction {predicted.shape}; resize one")
    actual, found = truth != 0, predicted != 0
    tp, fp = np.count_nonzero(actual & found), np.count_nonzero(~actual & found)
    fn = np.count_nonzero(actual & ~found)
    return np.array([tp, fp, fn, truth.size - tp - fp - fn], dtype=np.int64)


def compare(part: Mapping[str, Any], truth: Mapping[str, Any]) -> Counts:
    """Count the pixels of one result."""
    return pixel_counts(truth["mask"], part["mask"])


def tally(counts: Sequence[npt.ArrayLike], classes: Sequence[str]) -> Tally:
    """Metrics of N images from their `pixel_counts`; the mean IoU is that of the classes with a defined IoU."""
    pixels = np.array(counts, np.float64).reshape(-1, 4)

    def metrics(weights: Weights) -> MetricsBySet:
        tp, fp, fn, tn = (weights @ pixels).T  # (R,) each
        iou = np.stack([ratio(tn, tn + fp + fn), ratio(tp, tp + fp + fn)])
        return {
            "miou": mean(iou),
            "iou.background": iou[0],
            "iou.pan": iou[1],
            "dice": ratio(2 * tp, 2 * tp + fp + fn),
            "precision": ratio(tp, tp + fp),
            "recall": ratio(tp, tp + fn),
        }

    return metrics


SCORER = Scorer(compare, tally)
