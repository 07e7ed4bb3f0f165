"""mIoU and Dice over a whole set of masks."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]


def pixel_counts(truth: npt.NDArray[Any], predicted: npt.NDArray[Any]) -> Counts:
    """How the pixels of one picture fall.

    Args:
        truth: (H, W); every value but 0 is the pan.
        predicted: (H, W), likewise.

    Returns:
        (4,) int64: true positives, false positives, false negatives, true negatives.

    Raises:
        ValueError: the shapes differ.
    """
    if truth.shape != predicted.shape:
        raise ValueError(f"truth has shape {truth.shape} and prediction {predicted.shape}; both must be (H, W) alike")
    actual, found = truth != 0, predicted != 0
    tp, fp = np.count_nonzero(actual & found), np.count_nonzero(~actual & found)
    fn = np.count_nonzero(actual & ~found)
    return np.array([tp, fp, fn, truth.size - tp - fp - fn], dtype=np.int64)


def segmentation_scores(counts: Iterable[npt.ArrayLike]) -> dict[str, Any]:
    """Scores of a whole set: the pixels of all pictures are summed before any ratio is taken.

    Args:
        counts: `pixel_counts` of every picture.

    Returns:
        `{"miou", "iou": {"background", "pan"}, "dice"}` (Dice of the pan), fractions; None where nothing of a
        class was there or found. mIoU is the mean over the classes that have an IoU.
    """
    total = np.zeros(4, dtype=np.int64)
    for row in counts:
        total += np.asarray(row, dtype=np.int64)
    tp, fp, fn, tn = (int(value) for value in total)
    iou = {"background": _ratio(tn, tn + fp + fn), "pan": _ratio(tp, tp + fp + fn)}
    defined = [value for value in iou.values() if value is not None]
    miou = sum(defined) / len(defined) if defined else None
    return {"miou": miou, "iou": iou, "dice": _ratio(2 * tp, 2 * tp + fp + fn)}


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
