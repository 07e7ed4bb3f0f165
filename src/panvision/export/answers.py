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
from panvision.export.outliers import upper_limit, usual, whiten
from panvision.inference.predictor import Predictor
from panvision.inference.torch_backend import TorchBackend
from panvision.model.checkpoint import save_checkpoint
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
# Below this limit of a fraction, images without a pan have as much.
_NEAR_ZERO = 0.01
_MOST_NAMED = 5


class Answerable(NamedTuple):
    """The images of classification that must be answered.

    Attributes:
        images: packed training images (N, S, S, 3) uint8 RGB, memory-mapped.
        labels: (N,) class indexes.
        validation: packed validation images (M, S, S, 3) uint8 RGB.
        files: names of the validation images.
    """

    images: Images
    labels: npt.NDArray[np.int64]
    validation: Images
    files: Sequence[str]


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
    files = [packed.files[row] for row in rows["val"]]
    return Answerable(packed.images[rows["train"]], packed.states[rows["train"]], packed.images[rows["val"]], files)


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


def calibrate(predictor: Predictor, good: Answerable, rejected: float) -> AnswerLimits:
    """Return limits that reject at most a fraction of the usual validation images.

    An image that is far outside the others is a mistake in the data more often than it is not. It does not set a limit,
    because it alone would make the model answer everything; a warning names it.

    Args:
        predictor: its limits say what is compared.
        good: M ≥ FEWEST_VALIDATION validation images.
        rejected: largest fraction of them, above 0; all limits together.
    """
    limits = predictor.info.limits
    if limits is None:
        raise ValueError("the model has no limits")
    found = {name: _scaled(name, values) for name, values in _measured(predictor, good.validation, limits).items()}
    each = rejected / len(found)
    new: dict[str, Any] = {}
    unusual: dict[str, npt.NDArray[np.bool_]] = {}
    for name, values in found.items():
        limit = upper_limit(values, each)
        unusual[name] = (values > limit) & ~usual(values)
        if name == "distance":
            new[name] = float(f"{math.exp(limit) * (1.0 + _SLACK):.6g}")
            continue
        fraction = (1.0 - _SLACK) / (1.0 + math.exp(limit))
        # Smaller areas are all the same.
        new[name] = float(f"{fraction:.6g}") if fraction > 1e-6 else 0.0
        if new[name] < _NEAR_ZERO:
            logger.warning(
                "the limit of %s is %g, so an image without a pan gets a class label: the model finds no pan in some "
                "validation images of classification; check them",
                *(name, new[name]),
            )
    _report_unusual(unusual, good.files)
    return limits._replace(**new)


def fit_limits(
    scratch: Path, model: MultiTaskModel, meta: Mapping[str, Any], good: Answerable, rejected: float
) -> AnswerLimits:
    """Return the limits of a model, measured as it will be used: from a checkpoint that is written to `scratch`.

    Args:
        scratch: path of that checkpoint.
        model: with its distance from the training images.
        meta: of the checkpoint, with the `config` that the model was trained with.
        good, rejected: as `calibrate` has them.
    """
    provisional = compared(model, meta.get("config") or {})
    save_checkpoint(scratch, model, meta={**meta, "answers": provisional._asdict()})
    return calibrate(Predictor(TorchBackend(scratch, "cpu")), good, rejected)


def _scaled(name: str, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the logarithm of distances, and the log-odds against fractions; larger values are worse."""
    if name == "distance":
        return np.log(np.maximum(values, _SLACK))
    inside = np.clip(values, 1e-6, 1.0 - 1e-6)
    return np.log(1.0 - inside) - np.log(inside)


def _report_unusual(unusual: Mapping[str, npt.NDArray[np.bool_]], files: Sequence[str]) -> None:
    """Warn of validation images that are far outside the others, by field of `AnswerLimits` (M,)."""
    fields = [name for name, rows in unusual.items() if rows.any()]
    if fields:
        named = [files[row] for row in np.flatnonzero(np.any(list(unusual.values()), axis=0)).tolist()]
        more = "" if len(named) <= _MOST_NAMED else f" and {len(named) - _MOST_NAMED} more"
        logger.warning(
            "validation images of classification: %d of %d set no limit of %s, because it is far outside that of the "
            "others: %s%s; remove bad images, or add more images like them",
            *(len(named), len(files), ", ".join(fields), ", ".join(named[:_MOST_NAMED]), more),
        )


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
        measure(predictor.finite(images[start : start + _BATCH]), limits) for start in range(0, len(images), _BATCH)
    ]
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
