"""Class logits of an image to probabilities."""

from typing import TypedDict

import numpy as np
import numpy.typing as npt

from panvision.decoding.answers import decide
from panvision.decoding.decoder import Decoder, ModelShape, RawOutputs


class ClassResult(TypedDict):
    """The class label: index and name of the most probable one, and the probability of each.

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
    return {"state_logits": (len(model.cls_class_names),), **distance}


def decode(outputs: RawOutputs, model: ModelShape, size: tuple[int, int]) -> ClassResult:
    """Decode the raw outputs of one image, by the model's temperature (Guo et al. 2017)."""
    probabilities: list[float] = softmax(outputs["state_logits"] / np.float64(model.temperature)).tolist()
    best = int(np.argmax(probabilities))
    answer = decide(outputs, model)
    return {
        "class_idx": best,
        "class_name": model.cls_class_names[best],
        "probabilities": dict(zip(model.cls_class_names, probabilities, strict=True)),
        "answered": answer.answered,
        "reason": answer.reason,
        "distance": answer.distance,
    }


def softmax(logits: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Probabilities over the last axis (..., C), float64, without overflow."""
    values = np.asarray(logits, dtype=np.float64)
    powers = np.exp(values - values.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


DECODER = Decoder(shapes, decode)
