"""Results drawn on their image: mask, boxes and class. NumPy and Pillow only."""

import colorsys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from panvision.photos.pixels import RgbArray

Color = tuple[int, int, int]
Rectangle = tuple[int, int, int, int]

MASK_COLOR: Color = (0, 190, 255)
MASK_OPACITY = 0.3
BANNER_COLOR: Color = (24, 24, 28)

# Distinct on food and steel, and for most colour-blind eyes; the mask's blue is not among them.
PALETTE: tuple[Color, ...] = (
    (230, 159, 0),
    (0, 158, 115),
    (213, 94, 0),
    (204, 121, 167),
    (240, 228, 66),
    (148, 103, 189),
    (250, 250, 250),
    (140, 86, 75),
)


@dataclass(frozen=True)
class _Style:
    """Sizes in pixels that suit an image."""

    line: int
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont
    padding: int


def draw_result(image: RgbArray, result: Mapping[str, Any], *, fill: bool = True) -> RgbArray:
    """Draw a result on its image; line width and letters grow with the image.

    A truth can be drawn as well: any of the three parts may be missing, boxes need no `scores` and a class no
    `probabilities`.

    Args:
        image: (H, W, 3) uint8, the image of the result.
        result: a result of `Predictor.predict`.
        fill: tint the area of the mask; without it the mask is an outline only.

    Returns:
        (H, W, 3) uint8, a new array.

    Raises:
        ValueError: a mask of another size than the image.
    """
    style = _style_for(image)
    if "segmentation" in result:
        image = overlay_mask(image, result["segmentation"]["mask"], line=style.line, fill=fill)
    canvas = Image.fromarray(image)
    draw = ImageDraw.Draw(canvas)
    # The class is in the upper left corner; labels avoid it and each other.
    taken: list[Rectangle] = []
    state = _state_text(result["classification"]) if "classification" in result else None
    if state is not None:
        taken.append(_text_rectangle(draw, (0, 0), state, style))
    if "detection" in result:
        _draw_boxes(draw, result["detection"], style, taken)
    if state is not None:
        _draw_text(draw, taken[0], state, BANNER_COLOR, style)
    return np.asarray(canvas).copy()


def overlay_mask(image: RgbArray, mask: npt.NDArray[np.uint8], *, line: int = 2, fill: bool = True) -> RgbArray:
    """Outline a mask, and tint its area.

    Args:
        image: (H, W, 3) uint8.
        mask: (H, W); every value but 0 is inside.
        line: width of the outline in pixels.
        fill: tint the area.

    Returns:
        (H, W, 3) uint8, a new array.

    Raises:
        ValueError: the mask's size is not the image's.
    """
    if mask.shape != image.shape[:2]:
        raise ValueError(f"the mask is {mask.shape}, the image {image.shape[:2]}; both must have the same (H, W)")
    inside = mask != 0
    drawn = image.copy()
    if fill:
        tint = np.array(MASK_COLOR, dtype=np.float32) * MASK_OPACITY
        drawn[inside] = np.rint(image[inside] * (1.0 - MASK_OPACITY) + tint).astype(np.uint8)
    drawn[inside & ~_shrunk(inside, line)] = MASK_COLOR
    return drawn


def class_color(label: int) -> Color:
    """Return the colour of a class, the same in every image."""
    if label < len(PALETTE):
        return PALETTE[label]
    # Beyond the palette: hues a golden angle apart do not repeat.
    red, green, blue = colorsys.hsv_to_rgb((label * 0.618034) % 1.0, 0.65, 0.95)
    return round(red * 255), round(green * 255), round(blue * 255)


def _style_for(image: RgbArray) -> _Style:
    side = min(image.shape[:2])
    size = max(11, round(side / 28))
    return _Style(line=max(1, round(side / 140)), font=ImageFont.load_default(size), padding=max(2, size // 5))


def _shrunk(inside: npt.NDArray[np.bool_], by: int) -> npt.NDArray[np.bool_]:
    """Return the part of a region that is farther than `by` pixels from its edge, across and down."""
    padded = np.pad(inside, by, mode="edge")
    height, width = inside.shape
    across = padded[by : by + height, :width] & padded[by : by + height, 2 * by :]
    down = padded[:height, by : by + width] & padded[2 * by :, by : by + width]
    return across & down


def _state_text(state: Mapping[str, Any]) -> str:
    if not state.get("answered", True):
        return f"no answer: {state['reason']}"
    name = str(state["class_name"])
    probabilities = state.get("probabilities")
    return f"{name} {probabilities[name]:.0%}" if probabilities else name


def _draw_boxes(draw: ImageDraw.ImageDraw, detection: Mapping[str, Any], style: _Style, taken: list[Rectangle]) -> None:
    """Draw boxes, then their labels on top, each where it hides no other label if possible."""
    scores = detection.get("scores")
    boxes, labels, names = detection["boxes"], detection["labels"], detection["class_names"]
    for box, label in zip(reversed(boxes), reversed(labels), strict=True):
        # A dark line around the coloured one keeps it visible on any background.
        x1, y1, x2, y2 = _corners(box)
        rim = min(style.line - 1, 1 + style.line // 6)
        draw.rectangle((x1 - rim, y1 - rim, x2 + rim, y2 + rim), outline=BANNER_COLOR, width=style.line + 2 * rim)
        draw.rectangle((x1, y1, x2, y2), outline=class_color(label), width=style.line)
    for row, (box, label) in enumerate(zip(boxes, labels, strict=True)):
        text = f"{names[row]} {scores[row]:.2f}" if scores else names[row]
        place = _label_place(draw, _corners(box), text, style, taken)
        taken.append(place)
        _draw_text(draw, place, text, class_color(label), style)


def _corners(box: list[float]) -> Rectangle:
    """Round a box to whole pixels: its right and lower edge are the last pixel inside."""
    x1, y1 = round(box[0]), round(box[1])
    return x1, y1, max(x1, round(box[2]) - 1), max(y1, round(box[3]) - 1)


def _label_place(
    draw: ImageDraw.ImageDraw, box: Rectangle, text: str, style: _Style, taken: list[Rectangle]
) -> Rectangle:
    """Return the first free place above the box, below it, or inside at the top or bottom; else the first."""
    left, top, right, bottom = _text_rectangle(draw, (0, 0), text, style)
    height, width = bottom - top, right - left
    starts = (
        (box[0], box[1] - height),
        (box[0], box[3] + 1),
        (box[0], box[1]),
        (box[0], box[3] - height),
        (box[2] - width, box[1] - height),
    )
    places = [_text_rectangle(draw, start, text, style) for start in starts]
    return next((place for place in places if not any(_overlap(place, other) for other in taken)), places[0])


def _text_rectangle(draw: ImageDraw.ImageDraw, start: tuple[int, int], text: str, style: _Style) -> Rectangle:
    """Return the place of a text on its background, moved into the image as far as it fits."""
    image_width, image_height = draw.im.size
    letters = draw.textbbox((0, 0), text, font=style.font)
    # The font's height, not these letters': labels side by side are level then.
    height = sum(style.font.getmetrics()) if isinstance(style.font, ImageFont.FreeTypeFont) else int(letters[3])
    width = int(np.ceil(letters[2])) + 2 * style.padding
    height += style.padding
    x = max(0, min(start[0], image_width - width))
    y = max(0, min(start[1], image_height - height))
    return x, y, x + width, y + height


def _draw_text(draw: ImageDraw.ImageDraw, place: Rectangle, text: str, ground: Color, style: _Style) -> None:
    x1, y1, x2, y2 = place
    draw.rectangle((x1, y1, x2 - 1, y2 - 1), fill=ground)
    # Luma (ITU-R BT.601) decides between black and white text.
    luma = 0.299 * ground[0] + 0.587 * ground[1] + 0.114 * ground[2]
    ink = (0, 0, 0) if luma > 128 else (255, 255, 255)
    draw.text((x1 + style.padding, y1 + style.padding // 2), text, fill=ink, font=style.font)


def _overlap(one: Rectangle, other: Rectangle) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
