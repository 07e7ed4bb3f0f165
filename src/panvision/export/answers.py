"""Measure which images a model may answer: the distance of features from training, and limits from validation."""

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from panvision.dataset.packed import open_packed, read_splits
from panvision.decoding.answers import measure
from panvision.decoding.decoder import AnswerLimits
from panvision.export.images import Images
from panvision.export.outliers import upper_limit, whiten
from panvision.inference.predictor import Predictor
from panvision.model.distance import FeatureDistance, pooled
from panvision.model.multitask import MultiTaskModel

logger = logging.getLogger(__name__)

# With fewer images the statistics say nothing, and the model answers every image.
FEWEST_TRAINING, FEWEST_VALIDATION = 20, 5
# Directions of the features that the distance uses.
MOST_DIRECTIONS = 256
_BATCH = 8
# A runtime's rounding must not reject the image that a limit was taken from.
_SLACK = 1e-3


class Answerable(NamedTuple):
    """The images of classification that must be answered.

    Attributes:
        images: packed training images (N, S, S, 3) uint8 RGB, memory-mapped.
        labels: (N,) class indexes.
        validation: packed validation images (M, S, S, 3) uint8 RGB.
    """

    images: Images
    labels: npt.NDArray[np.int64]
    validation: Images


def answerable_images(prepared: str | Path, splits: str | Path) -> Answerable | None:
    """Return the images of classification; None with a warning if they are too few.

    Raises:
        PackedError: `prepared` or `splits` cannot be used.
    """
    packed = open_packed(Path(prepared) / "classification", "classification")
    rows = read_splits(splits, packed.task, packed.files)
    counts = {"train": FEWEST_TRAINING, "val": FEWEST_VALIDATION}
    few = [f"{len(rows[split])} of {split}" for split, least in counts.items() if len(rows[split]) < least]
    if few or packed.states is None:
        logger.warning(
            "every image will get a class label: classification has %s images, limits need %d of train and %d of val",
            " and ".join(few),
            FEWEST_TRAINING,
            FEWEST_VALIDATION,
        )
        return None
    return Answerable(packed.images[rows["train"]], packed.states[rows["train"]], packed.images[rows["val"]])


def fit_distance(model: MultiTaskModel, images: Images, labels: npt.NDArray[np.int64]) -> FeatureDistance:
    """Fit the distance to training images.

    Args:
        model: in evaluation mode, on the CPU.
        images: (N, S, S, 3) uint8 RGB.
        labels: (N,) class indexes.
    """
    found = []
    with torch.inference_mode():
        for start in range(0, len(images), _BATCH):
            batch = torch.tensor(images[start : start + _BATCH]).float().permute(0, 3, 1, 2)
            found.append(pooled(model.backbone((batch - model.pixel_mean) / model.pixel_std)).numpy())
    fitted = whiten(np.concatenate(found), labels, len(model.cls_classes), most=MOST_DIRECTIONS)
    return FeatureDistance(*(torch.tensor(part, dtype=torch.float32) for part in fitted))


def compared(model: MultiTaskModel, trained: Mapping[str, Any]) -> AnswerLimits:
    """Return limits that reject nothing, of what this model can be asked for.

    The pan's boxes are those of `loss.mask_class`, or of the class `pan`.

    Args:
        model: its tasks and class names.
        trained: sections of the configuration that it was trained with.
    """
    pan = (trained.get("loss") or {}).get("mask_class") or "pan"
    label = model.det_classes.index(pan) if pan in model.det_classes else None
    return AnswerLimits(
        distance=float(np.finfo(np.float32).max),
        pan_area=0.0 if "segmentation" in model.tasks else None,
        pan_score=None if label is None else 0.0,
        pan_label=label or 0,
    )


def calibrate(predictor: Predictor, images: Images, rejected: float) -> AnswerLimits:
    """Return limits that reject at most a fraction of the images.

    Args:
        predictor: its limits say what is compared.
        images: validation images (M, S, S, 3) uint8 RGB, M ≥ FEWEST_VALIDATION.
        rejected: largest fraction of them, above 0; all limits together.
    """
    limits = predictor.info.limits
    if limits is None:
        raise ValueError("the model has no limits")
    found = _measured(predictor, images, limits)
    each = rejected / len(found)

    def smallest(name: str) -> float | None:
        return _lower_limit(found[name], each) if name in found else None

    distance = math.exp(upper_limit(np.log(np.maximum(found["distance"], _SLACK)), each)) * (1.0 + _SLACK)
    return limits._replace(
        distance=float(f"{distance:.6g}"), pan_area=smallest("pan_area"), pan_score=smallest("pan_score")
    )


def _lower_limit(fractions: npt.NDArray[np.float64], rejected: float) -> float:
    """Return the limit that at most a fraction `rejected` of the fractions is below, by their log-odds."""
    inside = np.clip(fractions, 1e-6, 1.0 - 1e-6)
    limit = (1.0 - _SLACK) / (1.0 + math.exp(upper_limit(np.log(1.0 - inside) - np.log(inside), rejected)))
    # Smaller areas are all the same.
    return float(f"{limit:.6g}") if limit > 1e-6 else 0.0


def count_rejected(predictor: Predictor, images: Images) -> int:
    """Count the images (M, S, S, 3) without an answer."""
    results = [
        result
        for start in range(0, len(images), _BATCH)
        for result in predictor.predict_batch(list(images[start : start + _BATCH]))
    ]
    return sum(not result["classification"]["answered"] for result in results)


def _measured(predictor: Predictor, images: Images, limits: AnswerLimits) -> dict[str, npt.NDArray[np.float64]]:
    batches: Sequence[dict[str, npt.NDArray[np.float64]]] = [
        measure(predictor.raw(images[start : start + _BATCH]), limits) for start in range(0, len(images), _BATCH)
    ]
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
