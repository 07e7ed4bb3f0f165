"""Class logits of an image to probabilities."""

from typing import TypedDict

import numpy as np
import numpy.typing as npt

from panvision.decoding.decoder import Decoder, ModelShape, RawOutputs


class ClassResult(TypedDict):
    """The class label: index and name of the most probable one, and the probability of each."""

    class_idx: int
    class_name: str
    probabilities: dict[str, float]


def shapes(model: ModelShape) -> dict[str, tuple[int, ...]]:
    """Return the shape of each raw output of one image."""
    return {"state_logits": (len(model.cls_class_names),)}


def decode(outputs: RawOutputs, model: ModelShape, size: tuple[int, int]) -> ClassResult:
    """Decode the raw outputs of one image, by the model's temperature (Guo et al. 2017)."""
    probabilities: list[float] = softmax(outputs["state_logits"] / np.float64(model.temperature)).tolist()
    best = int(np.argmax(probabilities))
    return {
        "class_idx": best,
        "class_name": model.cls_class_names[best],
        "probabilities": dict(zip(model.cls_class_names, probabilities, strict=True)),
    }


def softmax(logits: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Probabilities over the last axis (..., C), float64, without overflow."""
    values = np.asarray(logits, dtype=np.float64)
    powers = np.exp(values - values.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


DECODER = Decoder(shapes, decode)
