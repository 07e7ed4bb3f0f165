"""Mask logits to a mask in the picture's own pixels."""

import numpy as np
import numpy.typing as npt
from PIL import Image


def mask_from_logits(logits: npt.NDArray[np.float32], width: int, height: int) -> npt.NDArray[np.uint8]:
    """Stretch logits back over the picture and cut them at probability 1/2.

    The logits are interpolated, not the finished mask: the edge then runs between the model's pixels.

    Args:
        logits: (S, S).
        width, height: size of the picture in pixels.

    Returns:
        (height, width) uint8: 255 where the pan is, else 0.
    """
    values = Image.fromarray(np.ascontiguousarray(logits, dtype=np.float32))
    if values.size != (width, height):
        values = values.resize((width, height), Image.Resampling.BILINEAR)
    mask: npt.NDArray[np.uint8] = (np.asarray(values) > 0.0).view(np.uint8)
    # In place, for pictures may be large.
    return np.multiply(mask, 255, out=mask)
