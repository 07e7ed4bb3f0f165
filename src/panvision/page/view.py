"""Pictures that a visitor gave, read with care, and results drawn at a size that suits a screen."""

import base64
import binascii
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from panvision.inference.results import Result
from panvision.page.model import PageError
from panvision.photos.drawing import draw_result
from panvision.photos.pixels import ImageError, ImageTooLargeError, RgbArray, read_picture

MAX_PIXELS = 40_000_000
MAX_FRAME_PIXELS = 4_000_000  # of a camera
VIEW_SIDE = 1280  # pixels of the longer side of what is drawn on
MOST_ENLARGED = 4


def read_upload(path: str | Path, name: str) -> RgbArray:
    """A picture (H, W, 3) uint8 RGB from a file that was dropped on the page.

    Args:
        path: where it lies now.
        name: what the visitor calls it.

    Raises:
        PageError: it has gone, is no picture, is broken, or is too large.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise PageError(f"{name}: is no longer here; drop it again") from error
    return _decode(content, name, MAX_PIXELS)


def read_frame(url: str) -> RgbArray:
    """A frame (H, W, 3) uint8 RGB that the browser's camera took, from its `data:` address.

    Raises:
        PageError: no such address, or no picture in it.
    """
    head, comma, text = url.partition(",")
    if not (comma and head.startswith("data:image/") and head.endswith(";base64")):
        raise PageError("the camera gave no picture; start it again")
    try:
        content = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise PageError("the camera gave no picture; start it again") from error
    return _decode(content, "the camera's picture", MAX_FRAME_PIXELS)


def _decode(content: bytes, name: str, max_pixels: int) -> RgbArray:
    try:
        return read_picture(name, max_pixels=max_pixels, content=content).rgb
    except ImageTooLargeError as error:
        raise PageError(f"{name}: has more than {max_pixels // 1_000_000} megapixels; make it smaller") from error
    except ImageError as error:
        raise PageError(str(error)) from error


def show(image: RgbArray, result: Result, side: int = VIEW_SIDE) -> RgbArray:
    """Draw a result on its picture, whose longer side is first brought to `side` pixels (enlarged fourfold at most).

    So lines and letters are as sharp, and as large, whatever the camera, and no page carries megapixels that no screen
    has.

    Returns:
        (h, w, 3) uint8 RGB.
    """
    height, width = image.shape[:2]
    factor = min(MOST_ENLARGED, side / max(height, width))
    size = max(1, round(width * factor)), max(1, round(height * factor))
    scaled = Image.fromarray(image).resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)
    return draw_result(np.asarray(scaled), _scaled(result, (size[0] / width, size[1] / height), size))


def _scaled(result: Result, factors: tuple[float, float], size: tuple[int, int]) -> Mapping[str, Any]:
    """A result in the pixels of another size of its picture: `size` is width and height."""
    shown: dict[str, Any] = dict(result)
    if "segmentation" in result:
        # Cut anew, so that an enlarged mask has no stairs.
        mask = np.asarray(Image.fromarray(result["segmentation"]["mask"]).resize(size, Image.Resampling.BILINEAR))
        shown["segmentation"] = {"mask": np.where(mask > 127, 255, 0).astype(np.uint8)}
    if "detection" in result:
        boxes = np.array(result["detection"]["boxes"], dtype=np.float64).reshape(-1, 4) * (*factors, *factors)
        shown["detection"] = {**result["detection"], "boxes": boxes.tolist()}
    return shown


def data_url(image: RgbArray) -> str:
    """A picture (H, W, 3) uint8 RGB as JPEG in an address, so that no file of it is written."""
    content = io.BytesIO()
    Image.fromarray(image).save(content, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}"
