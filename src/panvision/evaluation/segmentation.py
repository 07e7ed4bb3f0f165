"""Evaluation of masks: pixels, and the distance between the true and the predicted boundary."""

from collections.abc import Mapping, Sequence
from math import inf
from typing import Any

import numpy as np

from panvision.evaluation.boundary import boundary_distances
from panvision.evaluation.evaluation import Evaluation
from panvision.evaluation.intervals import Range
from panvision.evaluation.results import Results, encode_mask
from panvision.scoring import segmentation
from panvision.scoring.scorer import MetricsBySet, Tally, Weights, ratio

ERRORS = ("boundary_mean_px", "boundary_p95_px", "boundary_mean", "boundary_p95")


def record(part: Mapping[str, Any], truth: Mapping[str, Any], classes: Sequence[str]) -> dict[str, Any]:
    """Record an image.

    Returns:
        `pixels`: true positives, false positives, false negatives, true negatives; `boundary`: mean and 95th
        percentile (`p95`) of the distances between the boundaries in pixels, None where undefined.
    """
    distances = boundary_distances(truth["mask"], part["mask"])
    return {
        "pixels": segmentation.compare(part, truth).tolist(),
        "boundary": None if distances is None else {"mean": distances[0], "p95": distances[1]},
    }


def tally(results: Results) -> Tally:
    """Metrics of the pixels, and boundary errors as means over images."""
    images = results.images
    pixels = segmentation.tally([image["pixels"] for image in images], results.classes)
    known = [image for image in images if image["boundary"] is not None]
    defined = np.array([image["boundary"] is not None for image in images], bool)
    errors = np.array([[image["boundary"]["mean"], image["boundary"]["p95"]] for image in known]).reshape(-1, 2)
    diagonals = np.array([np.hypot(image["width"], image["height"]) for image in known]).reshape(-1, 1)
    errors = np.concatenate([errors, errors / diagonals], axis=1)  # (N', 4)

    def metrics(weights: Weights) -> MetricsBySet:
        count = weights[:, defined].sum(axis=1)
        sums = (weights[:, defined] @ errors).T
        return {**pixels(weights), **{name: ratio(total, count) for name, total in zip(ERRORS, sums, strict=True)}}

    return metrics


def fixed(results: Results) -> dict[str, Any]:
    """Count the images with a boundary error."""
    known = sum(image["boundary"] is not None for image in results.images)
    return {"boundary_images": known if results.trained else None}


def stored(part: Mapping[str, Any]) -> dict[str, Any]:
    """Encode the mask."""
    return {"mask": encode_mask(part["mask"])}


def ranges(results: Results) -> dict[str, Range]:
    """Errors in pixels have no upper limit."""
    return {name: (0.0, inf) for name in ERRORS if name.endswith("_px")}


EVALUATION = Evaluation(record, tally, fixed=fixed, stored=stored, smaller=frozenset(ERRORS), ranges=ranges)
