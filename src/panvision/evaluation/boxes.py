"""The boxes of all pictures of detection's results, laid end to end."""

from typing import Any

import numpy as np
import numpy.typing as npt

from panvision.core.boxes import box_areas
from panvision.evaluation.results import Results
from panvision.scoring.matching import AREA_RANGES, IOU_THRESHOLDS, in_ranges
from panvision.scoring.ranking import RankedClass, rank


class BoxColumns:
    """The boxes of all pictures one after another."""

    def __init__(self, results: Results) -> None:
        found = [image["found"] for image in results.images]
        self._images = len(found)
        self._labels = _joined([each["labels"] for each in found], np.int64)
        self._scores = _joined([each["scores"] for each in found], np.float64)
        self._image = _owners([each["labels"] for each in found])
        self._hits, self._ignored = (
            np.array([_bits(_joined([each[flag][area] for each in found], np.int64)) for area in AREA_RANGES])
            for flag in ("hits", "ignored")
        )  # (A, T, D)
        truth = [image["truth"] for image in results.images]
        self._true_labels = _joined([each["labels"] for each in truth], np.int64)
        self._true_image = _owners([each["labels"] for each in truth])
        self._true_ranges = in_ranges(box_areas([box for each in truth for box in each["boxes"]]))  # (A, M)

    def ranked(self, label: int) -> RankedClass:
        """The boxes of one class, best first."""
        own, true = self._labels == label, self._true_labels == label
        truths = np.array(
            [np.bincount(self._true_image[true & inside], minlength=self._images) for inside in self._true_ranges]
        )
        return rank(self._scores[own], self._image[own], self._hits[:, :, own], self._ignored[:, :, own], truths)

    def counts(self, label: int, limit: float | None) -> npt.NDArray[np.float64] | None:
        """True positives, false positives and misses of each picture at IoU 0.5, (N, 3); None without a threshold."""
        if limit is None:
            return None
        kept = (self._labels == label) & (self._scores >= limit) & ~self._ignored[0, 0]
        right = self._hits[0, 0]
        tp, fp, positives = (
            np.bincount(images, minlength=self._images)
            for images in (
                self._image[kept & right],
                self._image[kept & ~right],
                self._true_image[self._true_labels == label],
            )
        )
        return np.stack([tp, fp, positives - tp], axis=1).astype(np.float64)


def _bits(flags: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Integers (D,) as their bits (T, D)."""
    return (flags >> np.arange(len(IOU_THRESHOLDS))[:, None] & 1).astype(bool)


def _owners(parts: list[Any]) -> npt.NDArray[np.int64]:
    """The number of the part that each joined value comes from."""
    return np.repeat(np.arange(len(parts)), np.array([len(part) for part in parts], np.int64))


def _joined(parts: list[Any], dtype: type) -> npt.NDArray[Any]:
    return np.array([value for part in parts for value in part], dtype)
