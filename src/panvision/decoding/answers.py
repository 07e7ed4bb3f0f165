"""Decide if an image gets a class label: it must show a pan and be like the training images."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from panvision.decoding.decoder import AnswerLimits, ModelShape, RawOutputs

NO_PAN, UNLIKE = "no pan", "unlike the training images"


class Answer(NamedTuple):
    """The decision on one image.

    Attributes:
        answered: False if the class label is not to be relied on.
        reason: NO_PAN or UNLIKE; None if answered.
        distance: from the training images, as a fraction of the largest accepted one; None without limits.
    """

    answered: bool
    reason: str | None
    distance: float | None


def decide(outputs: RawOutputs, model: ModelShape) -> Answer:
    """Decide on the raw outputs of one image. A model without limits always answers."""
    limits = model.limits
    if limits is None:
        return Answer(True, None, None)
    found = {name: float(values[0]) for name, values in measure(_batched(outputs), limits).items()}
    distance = found.pop("distance") / limits.distance
    if any(value < getattr(limits, name) for name, value in found.items()):
        return Answer(False, NO_PAN, distance)
    # Written so that NaN is unlike.
    return Answer(True, None, distance) if distance <= 1.0 else Answer(False, UNLIKE, distance)


def measure(outputs: RawOutputs, limits: AnswerLimits) -> dict[str, npt.NDArray[np.float64]]:
    """Return what the limits are compared with, by field of `AnswerLimits`, each (N,).

    Args:
        outputs: raw outputs of N images.
        limits: those that are None are left out.
    """
    found = {"distance": outputs["cls_distance"].astype(np.float64)}
    if limits.pan_area is not None:
        found["pan_area"] = np.asarray((outputs["mask_logits"] > 0.0).mean(axis=(1, 2)))
    if limits.pan_score is not None:
        logits, centerness = outputs["class_logits"][:, :, limits.pan_label], outputs["centerness"]  # (N, P)
        # The score of a box, before it is rounded to float32.
        scores = np.exp(-0.5 * (np.logaddexp(0.0, -logits) + np.logaddexp(0.0, -centerness)))
        found["pan_score"] = scores.max(axis=1).astype(np.float64)
    return found


def _batched(outputs: RawOutputs) -> Mapping[str, npt.NDArray[np.float32]]:
    return {name: np.asarray(output)[None] for name, output in outputs.items()}
