"""Mask logits to a mask in the image's own pixels."""

from typing import TypedDict

import numpy as np
import numpy.typing as npt
from PIL import Image

from panvision.decoding.decoder import Decoder, FloatArray, ModelShape, RawOutputs


class MaskResult(TypedDict):
    """The pan: `mask` (H, W) uint8, 0 or 255, in the image's own pixels."""

    mask: npt.NDArray[np.uint8]


def shapes(model: ModelShape) -> dict[str, tuple[int, ...]]:
    """Return the shape of each raw output of one image."""
    return {"mask_logits": (model.image_size, model.image_size)}


def decode(outputs: RawOutputs, model: ModelShape, size: tuple[int, int]) -> MaskResult:
    """Decode the raw outputs of one image of (width, height) `size`."""
    return {"mask": mask_from_logits(outputs["mask_logits"], *size)}


def mask_from_logits(logits: FloatArray, width: int, height: int) -> npt.NDArray[np.uint8]:
    """Resize logits to the image and threshold them at probability 1/2.

    The logits are interpolated, not the thresholded mask: the edge then runs between the model's pixels.

    Args:
        logits: (S, S).
        width, height: size of the image in pixels.

    Returns:
        (height, width) uint8: 255 on the pan, else 0.
    """
    values = Image.fromarray(np.ascontiguousarray(logits, dtype=np.float32))
    if values.size != (width, height):
        values = values.resize((width, height), Image.Resampling.BILINEAR)
    mask: npt.NDArray[np.uint8] = (np.asarray(values) > 0.0).view(np.uint8)
    # In place, because images may be large.
    return np.multiply(mask, 255, out=mask)


DECODER = Decoder(shapes, decode)
