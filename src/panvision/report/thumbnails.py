"""Images of a page: selection, size and data URIs."""

import base64
import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from panvision.photos.drawing import MASK_COLOR, MASK_OPACITY
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
    return _uri("jpeg", stream)


def area_uri(mask: npt.NDArray[np.uint8]) -> str:
    """Encode the area of a mask (H, W), not 0 inside, as a PNG data URI: tinted inside, transparent outside."""
    stream = io.BytesIO()
    area = Image.fromarray((mask != 0).view(np.uint8)).convert("P")
    area.putpalette((*MASK_COLOR, *MASK_COLOR))
    area.save(stream, format="PNG", bits=1, transparency=bytes((0, round(255 * MASK_OPACITY))))
    return _uri("png", stream)


def _uri(kind: str, stream: io.BytesIO) -> str:
    return f"data:image/{kind};base64," + base64.b64encode(stream.getvalue()).decode("ascii")
