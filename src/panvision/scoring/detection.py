"""COCO's average precision of a set of boxes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from panvision.core.boxes import box_areas
from panvision.scoring.matching import AREA_RANGES, IOU_THRESHOLDS, Matching, in_ranges, match_boxes
from panvision.scoring.ranking import RankedClass, average_precision, rank
from panvision.scoring.scorer import MetricsBySet, Scorer, Tally, Weights, mean


def compare(part: Mapping[str, Any], truth: Mapping[str, Any]) -> Matching:
    """Match the boxes of one result to the true ones."""
    return match_boxes(
        truth["boxes"],
        truth["labels"],
        part["boxes"],
        part["labels"],
        part["scores"],
        crowds=truth.get("crowds", ()),
        crowd_labels=truth.get("crowd_labels", ()),
    )


class BoxColumns:
    """The boxes of N images, concatenated: D predicted and M true ones; A area ranges, T IoU thresholds.

    Attributes:
        labels, scores, image: (D,) class index, score and image of each predicted box.
        hits, ignored: (A, T, D), as in `Matching`.
        true_labels, true_image: (M,) class index and image of each true box.
    """

    def __init__(self, images: Sequence[Matching]) -> None:
        flags = np.zeros((len(AREA_RANGES), len(IOU_THRESHOLDS), 0), bool)
        self._images = len(images)
        self.labels = _joined([each.labels for each in images], np.int64)
        self.scores = _joined([each.scores for each in images], np.float64)
        self.image = _owners([each.labels for each in images])
        self.hits = np.concatenate([flags, *(each.hits for each in images)], axis=2)
        self.ignored = np.concatenate([flags, *(each.ignored for each in images)], axis=2)
        self.true_labels = _joined([each.true_labels for each in images], np.int64)
        self.true_image = _owners([each.true_labels for each in images])
        self._true_ranges = in_ranges(box_areas(_joined([each.true_boxes for each in images], np.float64)))  # (A, M)

    def ranked(self, label: int) -> RankedClass:
        """Return the boxes of one class, best first."""
        own, true = self.labels == label, self.true_labels == label
        truths = np.array([self.per_image(self.true_image[true & inside]) for inside in self._true_ranges])
        return rank(self.scores[own], self.image[own], self.hits[:, :, own], self.ignored[:, :, own], truths)

    def per_image(self, image: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Count some boxes, given by their images, in each image, (N,)."""
        return np.bincount(image, minlength=self._images)


def tally(images: Sequence[Matching], classes: Sequence[str]) -> Tally:
    """Metrics of N images from their matched boxes."""
    columns = BoxColumns(images)
    ranked = [columns.ranked(label) for label in range(len(classes))]

    def metrics(weights: Weights) -> MetricsBySet:
        shape = (len(ranked), len(AREA_RANGES), len(IOU_THRESHOLDS), len(weights))
        ap = np.array([average_precision(one, weights) for one in ranked]).reshape(shape)  # (K, A, T, R)
        # A class is defined at all thresholds or at none.
        found = {"map50": mean(ap[:, 0, 0]), "map50_95": mean(ap[:, 0].mean(axis=1))}
        found |= {f"ap50.{name}": values for name, values in zip(classes, ap[:, 0, 0], strict=True)}
        for area, name in enumerate(AREA_RANGES):
            if name != "all":
                found[f"map_{name}"] = mean(ap[:, area].mean(axis=1))
        return found

    return metrics


def _owners(parts: Sequence[npt.ArrayLike]) -> npt.NDArray[np.int64]:
    """Index of the part that each joined value comes from."""
    return np.repeat(np.arange(len(parts)), np.array([np.size(part) for part in parts], np.int64))


def _joined(parts: Sequence[npt.ArrayLike], dtype: type) -> npt.NDArray[Any]:
    return np.concatenate([np.zeros(0, dtype), *(np.asarray(part, dtype).reshape(-1) for part in parts)])


SCORER = Scorer(compare, tally)
