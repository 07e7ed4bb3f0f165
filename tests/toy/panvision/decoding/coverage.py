"""A logit to the fraction of the image that the pan covers."""

import math
from typing import Any

from panvision.decoding.decoder import Decoder, ModelShape, RawOutputs


def shapes(model: ModelShape) -> dict[str, tuple[int, ...]]:
    """Return the shape of each raw output of one image."""
    return {"coverage": ()}


def decode(outputs: RawOutputs, model: ModelShape, size: tuple[int, int]) -> dict[str, Any]:
    """Decode the raw outputs of one image."""
    return {"fraction": 1.0 / (1.0 + math.exp(-float(outputs["coverage"])))}


DECODER = Decoder(shapes, decode)
