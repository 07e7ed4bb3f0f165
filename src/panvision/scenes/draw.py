"""Drawing by shapes: paint and labels come from the same outlines.

Places are in *units*: the frame's nominal height (three quarters of its width, if that is less) is 1, the frame's
centre is (0, 0), x points right and y down. A 3x3 matrix takes units to pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

# OpenCV leaves the dtype of its results open, so these aliases do too.
Canvas = npt.NDArray[Any]  # (H, W, 3) uint8 RGB, or (H, W) uint8 for a mask
Points = npt.NDArray[np.float64]  # (n, 2)
Matrix = npt.NDArray[np.float64]  # (3, 3)
Field = npt.NDArray[Any]  # (H, W) float32
Color = tuple[float, float, float]  # RGB, 0 to 255

_SUBPIXEL_BITS = 4


@dataclass(frozen=True, slots=True)
class Shape:
    """A filled polygon, or a round-ended stroke along its points.

    Attributes:
        points: (n, 2) in units.
        color: RGB, 0 to 255.
        width: of the stroke in units; None fills the polygon.
    """

    points: Points
    color: Color
    width: float | None = None


def translation(x: float, y: float) -> Matrix:
    """Matrix that moves by (x, y)."""
    return np.array([[1.0, 0.0, x], [0.0, 1.0, y], [0.0, 0.0, 1.0]])


def rotation(angle: float) -> Matrix:
    """Matrix that turns by `angle` radians, clockwise on the screen."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])


def scaling(x: float, y: float) -> Matrix:
    """Matrix that stretches by x and y."""
    return np.diag([x, y, 1.0])


def transform(matrix: Matrix, points: Points) -> Points:
    """Points (..., 2) taken through a matrix."""
    return points @ matrix[:2, :2].T + matrix[:2, 2]


def scale_of(matrix: Matrix) -> float:
    """Mean length that a matrix gives to a unit vector."""
    return float(np.sqrt(abs(np.linalg.det(matrix[:2, :2]))))


def direction(angle: float) -> npt.NDArray[np.float64]:
    """Unit vector at `angle` radians."""
    return np.array([np.cos(angle), np.sin(angle)])


def arc(radius: float, *, start: float = 0.0, sweep: float = 2 * np.pi, count: int = 64) -> Points:
    """Points on a circle around (0, 0), (count, 2)."""
    angles = start + np.linspace(0.0, sweep, count)
    return radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def curve(start: Points, bend: Points, end: Points, count: int = 20) -> Points:
    """Quadratic Bézier curve as points (count, 2)."""
    t = np.linspace(0.0, 1.0, count)[:, None]
    return (1 - t) ** 2 * start + 2 * t * (1 - t) * bend + t**2 * end


def subpixels(points: Points) -> npt.NDArray[np.int32]:
    """Pixel coordinates in OpenCV's fixed-point form."""
    return np.rint(points * (1 << _SUBPIXEL_BITS)).astype(np.int32)


def fill(canvas: Canvas, outlines: Sequence[npt.NDArray[np.int32]], color: Color | float) -> None:
    """Fill polygons (even-odd: an outline inside another is a hole) given by `subpixels`, antialiased."""
    cv2.fillPoly(canvas, outlines, color, cv2.LINE_AA, _SUBPIXEL_BITS)


def stroke(canvas: Canvas, path: npt.NDArray[np.int32], color: Color | float, width: float) -> None:
    """Draw a line of `width` pixels along points given by `subpixels`, antialiased, with round ends."""
    cv2.polylines(canvas, [path], False, color, max(1, round(width)), cv2.LINE_AA, _SUBPIXEL_BITS)


def paint(canvas: Canvas, shapes: Sequence[Shape], matrix: Matrix) -> None:
    """Draw shapes in their order."""
    scale = scale_of(matrix)
    for shape in shapes:
        points = subpixels(transform(matrix, shape.points))
        if shape.width is None:
            fill(canvas, [points], shape.color)
        else:
            stroke(canvas, points, shape.color, shape.width * scale)


def silhouette(size: tuple[int, int], shapes: Sequence[Shape], matrix: Matrix) -> Canvas:
    """Coverage of all shapes together: (height, width) uint8, 0 to 255."""
    mask = np.zeros(size, np.uint8)
    paint(mask, [Shape(shape.points, (255, 255, 255), shape.width) for shape in shapes], matrix)
    return mask


def tint(color: Color, factor: float) -> Color:
    """A colour made darker (factor below 1) or lighter, kept within 0 to 255."""
    return (min(255.0, color[0] * factor), min(255.0, color[1] * factor), min(255.0, color[2] * factor))


def mix(first: Color, second: Color, share: float) -> Color:
    """Colour between two: `share` 0 is the first, 1 the second."""
    red, green, blue = (a + (b - a) * share for a, b in zip(first, second, strict=True))
    return (red, green, blue)


def tube(path: Points, width: float, color: Color, *, gloss: float, light: Points) -> list[Shape]:
    """A round bar along a path, as nested strokes from its dark edge to its highlight.

    Args:
        path: centre line, (n, 2) in units.
        width: in units.
        color: of the lit body.
        gloss: 0 (matte) to 1 (mirror).
        light: vector towards the light, at most 1 long.
    """
    shapes = []
    steps = 7
    for step in range(steps):
        depth = step / steps
        shade = 0.5 + 0.62 * depth - (0.25 * gloss if step == 2 else 0.0)
        shapes.append(Shape(path + light * (0.17 * width * depth), tint(color, shade), width * (1 - depth)))
    shine = mix(tint(color, 1.15), (255.0, 255.0, 252.0), gloss)
    shapes.append(Shape(path + light * (0.2 * width), shine, width * 0.12))
    return shapes


def blend(canvas: Canvas, layer: Canvas | Color, alpha: Field) -> None:
    """Blend an image or a colour into a canvas in place; alpha (H, W), 0 to 1."""
    if isinstance(layer, tuple):
        color, layer = layer, np.empty_like(canvas)
        cv2.rectangle(layer, (0, 0), layer.shape[1::-1], color, -1)
    alpha = alpha.astype(np.float32, copy=False)
    canvas[:] = cv2.blendLinear(layer, canvas, alpha, 1.0 - alpha)


def shade(canvas: Canvas, factor: Field) -> None:
    """Multiply a canvas in place by factors (H, W)."""
    factor = factor.astype(np.float32, copy=False)
    cv2.multiply(canvas, cv2.merge([factor, factor, factor]), dst=canvas, dtype=cv2.CV_8UC3)


def warp(picture: Canvas, matrix: Matrix, size: tuple[int, int], *, mirror: bool = False) -> Canvas:
    """A picture taken through a pixel-to-pixel matrix into (height, width); outside is 0, or mirrored."""
    border = cv2.BORDER_REFLECT if mirror else cv2.BORDER_CONSTANT
    return cv2.warpAffine(picture, matrix[:2], size[::-1], flags=cv2.INTER_LINEAR, borderMode=border)


def noise(rng: np.random.Generator, size: tuple[int, int], cells: tuple[float, float], octaves: int = 1) -> Field:
    """Smooth random field, (height, width), mean about 0 and spread about 1.

    Args:
        rng: where the randomness comes from.
        size: (height, width).
        cells: number of bumps down and across in the first octave; each further octave doubles them at half strength.
        octaves: number of octaves.
    """
    total = np.zeros(size, np.float32)
    power = 0.0
    for octave in range(octaves):
        shape = [max(2, min(limit, round(count * 2**octave))) for count, limit in zip(cells, size, strict=True)]
        values = rng.standard_normal(shape, dtype=np.float32)
        total += cv2.resize(values, size[::-1], interpolation=cv2.INTER_CUBIC) * np.float32(0.5**octave)
        power += 0.25**octave
    return total * np.float32(1.4 / np.sqrt(power))
