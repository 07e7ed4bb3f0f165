"""Images of a page: selection, size and data URIs."""

import base64
import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from panvision.photos.pixels import RgbArray


def spread(rows: npt.NDArray[np.int64], count: int) -> list[int]:
    """Return at most `count` of the rows at even distances, in their order."""
    count = min(count, len(rows))
    return [int(rows[(2 * number + 1) * len(rows) // (2 * count)]) for number in range(count)]


def fit(size: tuple[int, int], side: int) -> tuple[int, int]:
    """Scale width and height so that the longer one is `side`, both at least 1."""
    scale = side / max(size)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def jpeg_uri(pixels: RgbArray, quality: int) -> str:
    """Encode an image as a JPEG data URI with full colour resolution, which thin coloured lines need.

    Pillow's `optimize` is off: it fails on an image whose JPEG has more bytes than the image has pixels.
    """
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="JPEG", quality=quality, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
