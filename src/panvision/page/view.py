"""Images that a visitor gave, decoded with limits, and results as JSON with drawn images of a screen's size."""

import base64
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from panvision.inference.results import Result
from panvision.page.model import PageError
from panvision.photos.drawing import class_color, draw_result
from panvision.photos.pixels import ImageError, ImageTooLargeError, RgbArray, read_picture

VIEW_SIDE = 1280  # pixels of the longer side of a drawn image
MAX_ENLARGEMENT = 4


def decode_image(content: bytes, name: str, max_pixels: int) -> RgbArray:
    """Return an image (H, W, 3) uint8 RGB, upright, from a file's bytes; messages call it `name`.

    Raises:
        PageError: it is not an image, is damaged, or has more than `max_pixels` pixels.
    """
    try:
        return read_picture(name, max_pixels=max_pixels, content=content).rgb
    except ImageTooLargeError as error:
        raise PageError(f"{name}: has more than {max_pixels / 1e6:g} megapixels; make it smaller") from error
    except ImageError as error:
        raise PageError(str(error)) from error


def describe(image: RgbArray, result: Result, side: int = VIEW_SIDE) -> dict[str, Any]:
    """Return a result as JSON values: `drawn` (a data: URL), `width`, `height`, and `state` and `boxes` if it has them.

    Args:
        image: (H, W, 3) uint8 RGB.
        result: in the pixels of the image.
        side: pixels of the longer side of the drawn image.
    """
    height, width = image.shape[:2]
    found: dict[str, Any] = {"drawn": data_url(draw(image, result, side)), "width": width, "height": height}
    if "classification" in result:
        found["state"] = {key: value for key, value in result["classification"].items() if key != "class_idx"}
    if "detection" in result:
        boxes = result["detection"]
        rows = zip(boxes["class_names"], boxes["labels"], boxes["scores"], boxes["boxes"], strict=True)
        found["boxes"] = [
            {"name": name, "color": class_color(label), "score": score, "box": box} for name, label, score, box in rows
        ]
    return found


def draw(image: RgbArray, result: Result, side: int = VIEW_SIDE) -> RgbArray:
    """Return (h, w, 3) uint8 RGB: a result drawn on its image (H, W, 3), whose longer side is first resized to `side`.

    Lines and letters are then equally sharp and large for every camera, and no response is larger than a screen. The
    image is enlarged at most fourfold.
    """
    height, width = image.shape[:2]
    factor = min(MAX_ENLARGEMENT, side / max(height, width))
    size = max(1, round(width * factor)), max(1, round(height * factor))
    resized = Image.fromarray(image).resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)
    return draw_result(np.asarray(resized), _resized(result, (size[0] / width, size[1] / height), size))


def _resized(result: Result, factors: tuple[float, float], size: tuple[int, int]) -> Mapping[str, Any]:
    """Return a result in the pixels of its image resized to `size` (width, height)."""
    resized: dict[str, Any] = dict(result)
    if "segmentation" in result:
        # The threshold is applied after the interpolation, so that an enlarged mask has a smooth edge.
        mask = np.asarray(Image.fromarray(result["segmentation"]["mask"]).resize(size, Image.Resampling.BILINEAR))
        resized["segmentation"] = {"mask": np.where(mask > 127, 255, 0).astype(np.uint8)}
    if "detection" in result:
        boxes = np.array(result["detection"]["boxes"], dtype=np.float64).reshape(-1, 4) * (*factors, *factors)
        resized["detection"] = {**result["detection"], "boxes": boxes.tolist()}
    return resized


def data_url(image: RgbArray, kind: str = "JPEG") -> str:
    """Return an image (H, W, 3) or mask (H, W), uint8, as a data: URL; no file is written."""
    content = io.BytesIO()
    Image.fromarray(image).save(content, kind, quality=85)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(content.getvalue()).decode()}"
