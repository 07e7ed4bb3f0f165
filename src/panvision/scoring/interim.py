"""What training/validation.py calls until it uses `SCORERS`."""

from collections.abc import Sequence
from typing import Any

import numpy.typing as npt

from panvision.scoring.matching import match_boxes
from panvision.scoring.table import score

Truth = tuple[npt.NDArray[Any], npt.NDArray[Any]]
Prediction = tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]


def segmentation_scores(counts: Sequence[npt.ArrayLike]) -> dict[str, float | None]:
    """Metrics from the `pixel_counts` of every image."""
    return score("segmentation", counts, ())


def classification_scores(
    truth: Sequence[int], predicted: Sequence[int], classes: Sequence[str]
) -> dict[str, float | None]:
    """Metrics from true and predicted class indexes."""
    return score("classification", list(zip(truth, predicted, strict=True)), classes)


def coco_scores(
    truth: Sequence[Truth], predictions: Sequence[Prediction], classes: Sequence[str]
) -> dict[str, float | None]:
    """Metrics from true boxes and labels, and predicted boxes, labels and scores, of every image."""
    matched = [match_boxes(*true, *found) for true, found in zip(truth, predictions, strict=True)]
    return score("detection", matched, classes)
