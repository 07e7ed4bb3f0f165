"""Activation maps drawn over their image. NumPy and Pillow only."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from panvision.photos.drawing import BANNER_COLOR, draw_result
from panvision.photos.pixels import RgbArray

# Colours of a map from 0 to 1 (those of matplotlib's `inferno`, whose lightness grows evenly), over a grey image.
RAMP = np.array([(20, 11, 52), (132, 32, 107), (229, 92, 48), (246, 215, 70), (252, 255, 164)], np.float32)
OPACITY = 0.75
# Of the panels of one drawing: longer side in pixels, number side by side, and pixels between them.
SIDE, COLUMNS, GAP = 480, 3, 6


def resize_heat(heat: npt.NDArray[np.float32], width: int, height: int) -> npt.NDArray[np.float32]:
    """Resize a map (h, w) from 0 to 1 to (height, width) float32, bilinear."""
    resized = Image.fromarray(heat.astype(np.float32)).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(resized).clip(0.0, 1.0)


def overlay_heat(image: RgbArray, heat: npt.NDArray[np.float32]) -> RgbArray:
    """Draw a map over a grey copy of its image: the larger the value, the lighter and the less transparent.

    Args:
        image: (H, W, 3) uint8.
        heat: (h, w) from 0 to 1, of any size; it is scaled to the image, bilinear.

    Returns:
        (H, W, 3) uint8, a new array.
    """
    values = resize_heat(heat, image.shape[1], image.shape[0])
    grey = np.asarray(Image.fromarray(image).convert("L").convert("RGB"), np.float32)
    steps = np.linspace(0.0, 1.0, len(RAMP))
    colors = np.stack([np.interp(values, steps, RAMP[:, channel]) for channel in range(3)], axis=2)
    cover = OPACITY * values[:, :, None]
    return np.rint(grey * (1.0 - cover) + colors * cover).astype(np.uint8)


def draw_explanation(image: RgbArray, result: Mapping[str, Any], explanation: Mapping[str, Any]) -> RgbArray:
    """Draw the maps of a result as panels: the class label, then each explained box with its outline.

    Args:
        image: (H, W, 3) uint8, the image of the result.
        result: a result of `Predictor.predict`.
        explanation: its maps as in `panvision.inference.explanation.Explanation`, of any size.

    Returns:
        (H', W', 3) uint8: at most `COLUMNS` panels side by side, whose longer side is `SIDE` or the image's own. A
        result without a class label and boxes gives the grey image alone.
    """
    height, width = image.shape[:2]
    scale = min(1.0, SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))
    panels = []
    if "classification" in explanation:
        heated = overlay_heat(small, explanation["classification"])
        panels.append(draw_result(heated, {"classification": result["classification"]}))
    for row, heat in enumerate(explanation.get("detection", ())):
        box = one_box(result["detection"], row, (size[0] / width, size[1] / height))
        panels.append(draw_result(overlay_heat(small, heat), {"detection": box}))
    return _grid(panels or [overlay_heat(small, np.zeros((1, 1), np.float32))])


def one_box(detection: Mapping[str, Any], row: int, scale: Sequence[float] = (1.0, 1.0)) -> dict[str, Any]:
    """Return the part of a result with one of its boxes, scaled across and down."""
    box = [edge * factor for edge, factor in zip(detection["boxes"][row], (*scale, *scale), strict=True)]
    columns = {key: [detection[key][row]] for key in ("labels", "scores", "class_names")}
    return {"boxes": [box], **columns}


def _grid(panels: Sequence[RgbArray]) -> RgbArray:
    """Arrange panels of one size in rows."""
    height, width = panels[0].shape[:2]
    columns = min(COLUMNS, len(panels))
    rows = math.ceil(len(panels) / columns)
    whole = np.empty((rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, 3), np.uint8)
    whole[:] = BANNER_COLOR
    for number, panel in enumerate(panels):
        top, left = number // columns * (height + GAP), number % columns * (width + GAP)
        whole[top : top + height, left : left + width] = panel
    return whole
