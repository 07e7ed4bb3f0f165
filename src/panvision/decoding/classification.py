"""Class logits of an image to probabilities."""

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
import numpy.typing as npt

from panvision.decoding.answers import decide
from panvision.decoding.decoder import Decoder, ModelShape, RawOutputs


class ClassResult(TypedDict):
    """The class label: index and name of the predicted one, and the probability of each.

    The predicted label is the most probable one. If the model has costs of mistakes, it is the one with the lowest
    expected cost; the probabilities stay calibrated.

    Not to be relied on if `answered` is False: then `reason` says why. `distance` is that from the training images, as
    a fraction of the largest accepted one; None for a model file without that limit, which always answers.
    """

    class_idx: int
    class_name: str
    probabilities: dict[str, float]
    answered: bool
    reason: str | None
    distance: float | None


def shapes(model: ModelShape) -> dict[str, tuple[int, ...]]:
    """Return the shape of each raw output of one image."""
    distance: dict[str, tuple[int, ...]] = {} if model.limits is None else {"cls_distance": ()}
    features: dict[str, tuple[int, ...]] = {"cls_features": (model.features,)} if model.features else {}
    return {"state_logits": (len(model.cls_class_names),), **distance, **features}


def decode(outputs: RawOutputs, model: ModelShape, size: tuple[int, int]) -> ClassResult:
    """Decode the raw outputs of one image, by the model's temperature (Guo et al. 2017)."""
    calibrated = softmax(outputs["state_logits"] / np.float64(model.temperature))
    best, probabilities = int(np.argmax(evidence(calibrated, model.costs))), calibrated.tolist()
    answer = decide(outputs, model)
    return {
        "class_idx": best,
        "class_name": model.cls_class_names[best],
        "probabilities": dict(zip(model.cls_class_names, probabilities, strict=True)),
        "answered": answer.answered,
        "reason": answer.reason,
        "distance": answer.distance,
    }


def evidence(probabilities: npt.NDArray[np.float64], costs: Sequence[Sequence[float]]) -> npt.NDArray[np.float64]:
    """Discount probabilities by the costs of mistakes, so that the largest has the lowest expected cost.

    With p the probabilities and c the costs, label j gets 1 - sum over i of p_i c_ij, at least 0, divided by the sum.
    If every mistake costs 1, this is p_j. The largest is Bayes' decision (Elkan 2001).

    Args:
        probabilities: (C,), sum 1.
        costs: (C, C) as in `ModelShape`; empty: the probabilities are returned.

    Returns:
        (C,), sum 1.
    """
    if not costs:
        return probabilities
    saved = 1.0 - probabilities @ np.array(costs, np.float64)
    left = saved.clip(0.0)
    # Every answer may cost more than 1: only the cheapest is left then.
    return left / left.sum() if left.any() else (np.arange(len(saved)) == saved.argmax()).astype(np.float64)


def softmax(logits: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Probabilities over the last axis (..., C), float64, without overflow."""
    values = np.asarray(logits, dtype=np.float64)
    powers = np.exp(values - values.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


DECODER = Decoder(shapes, decode)
