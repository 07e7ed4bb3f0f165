"""Annotated outlines: checked, measured, and drawn as the mask of their image.

A polygon's pixels are those whose centre is inside it by the even-odd rule (scan conversion as in Foley, van Dam,
Feiner and Hughes, Computer Graphics: Principles and Practice, 2nd edition, section 3.6). Pillow's
`ImageDraw.polygon` paints the border's pixels as well: a pan 20 pixels wide becomes 21 wide. The tests hold the
masks to pycocotools' (intersection over union above 0.98).
"""

import math
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from panvision.dataset.problems import Problem, problem
from panvision.photos.orientation import MaskArray, turn_mask
from panvision.photos.pixels import Picture
from panvision.prepare.formats.layout import OutlineLabels, RunLengths
from panvision.prepare.formats.runlengths import OutlineError, decode_run_lengths, run_lengths_bounds
from panvision.prepare.formats.sizes import Fit, fit_size

Polygon = tuple[float, ...]
Box = tuple[float, float, float, float]
Floats = npt.NDArray[np.float64]

# Corners of an ellipse drawn as a polygon; a multiple of four, so that the box around it is exact.
_ELLIPSE_CORNERS = 72
# Farther away than this, in pixels, a corner's exact place changes nothing in the image.
_FAR = 1e7
# Crossings of edges with rows that are held in memory at a time.
_CROSSINGS = 2**20


def check_polygon(values: object) -> Polygon:
    """Return a polygon x1, y1, x2, y2, … from a file's list of numbers.

    Raises:
        OutlineError: not an even number of finite numbers, or fewer than three points.
    """
    if not isinstance(values, (list, tuple)) or not all(
        isinstance(value, (int, float)) and not isinstance(value, bool) for value in values
    ):
        raise OutlineError("its outline is not a list of numbers")
    if len(values) % 2 or len(values) < 6:
        raise OutlineError(f"its outline has {len(values)} numbers, not three points x, y or more")
    try:
        polygon = tuple(float(value) for value in values)
    except OverflowError as error:
        raise OutlineError("its outline has numbers that are not finite") from error
    if not all(math.isfinite(value) for value in polygon):
        raise OutlineError("its outline has numbers that are not finite")
    return polygon


def rectangle_polygon(box: Box, degrees: float = 0.0) -> Polygon:
    """Return the corners of a box x1, y1, x2, y2, turned clockwise (as seen) about its centre."""
    left, top, right, bottom = box
    corners = np.array([(left, top), (right, top), (right, bottom), (left, bottom)])
    return _turned(corners, ((left + right) / 2, (top + bottom) / 2), degrees) if degrees else _flat(corners)


def ellipse_polygon(centre: tuple[float, float], radii: tuple[float, float], degrees: float = 0.0) -> Polygon:
    """Return corners on an ellipse, turned clockwise (as seen) about its centre."""
    angles = np.arange(_ELLIPSE_CORNERS) * (2 * np.pi / _ELLIPSE_CORNERS)
    with np.errstate(over="ignore", invalid="ignore"):
        corners = np.array(centre) + np.stack([np.cos(angles), np.sin(angles)], axis=1) * np.array(radii)
    return _turned(corners, centre, degrees) if degrees else _flat(corners)


def outline_box(polygons: Iterable[Polygon], run_lengths: RunLengths | None = None) -> Box:
    """Return left, top, width and height of the box around outlines, at least one, in their own coordinates."""
    boxes = [(min(p[0::2]), min(p[1::2]), max(p[0::2]), max(p[1::2])) for p in polygons]
    boxes += [run_lengths_bounds(run_lengths)] if run_lengths else []
    left, top = min(box[0] for box in boxes), min(box[1] for box in boxes)
    return left, top, max(box[2] for box in boxes) - left, max(box[3] for box in boxes) - top


def draw_mask(outlines: OutlineLabels, picture: Picture, file: str) -> tuple[MaskArray | None, list[Problem]]:
    """Draw the union of an image's outlines as a mask in the upright image's pixels.

    Sizes are treated as those of boxes: outlines on the file before its EXIF rotation are turned with the image,
    those of another size but the same shape are scaled, any other contradiction is an error.

    Args:
        outlines: as annotated.
        picture: the decoded image.
        file: its path, for messages.

    Returns:
        (H, W) uint8, 1 is pan, or None after an error; and the problems.
    """
    sizes = {outlines.size, *((float(mask.size[1]), float(mask.size[0])) for mask in outlines.run_lengths)} - {None}
    if len(sizes) > 1:
        texts = " and ".join(sorted(f"{size[0]:g}x{size[1]:g}" for size in sizes if size))
        return None, [problem("image_size", file, f"its outlines were annotated as {texts}")]
    fit = fit_size(next(iter(sizes), None), picture)
    if fit.kind in ("swapped", "contradictory"):
        code = "image_size_swapped" if fit.kind == "swapped" else "image_size"
        return None, [problem(code, file, fit.text)]
    problems: list[Problem] = []
    if fit.kind == "scaled":
        problems.append(problem("boxes_scaled", file, f"outlines {fit.text}"))
    mask, outside = _draw(outlines, picture, fit)
    if outside:
        # Like boxes outside the image: nothing is lost, but the outline was meant to mark something.
        reason = f"{outside} of its outlines are outside the image"
        problems.append(problem("outline_broken", file, reason, "warning"))
    if fit.kind == "turned":
        problems.append(problem("mask_rotated", file, f"annotated before the EXIF rotation {picture.orientation}"))
        mask = turn_mask(mask, picture.orientation)
    return mask, problems


def _draw(outlines: OutlineLabels, picture: Picture, fit: Fit) -> tuple[MaskArray, int]:
    """Return the mask in the pixels that the outlines were drawn on, and the number of outlines outside it."""
    width, height = picture.stored_size if fit.kind == "turned" else picture.size
    sides = np.array(outlines.size or (width, height) if outlines.relative else (1.0, 1.0))
    factors = sides * np.array(fit.scale)
    mask = np.zeros((height, width), np.uint8)
    outside = 0
    for polygon in outlines.polygons:
        with np.errstate(over="ignore"):
            points = np.clip(np.array(polygon).reshape(-1, 2) * factors, -_FAR, _FAR)  # (P, 2)
        if (points.max(axis=0) <= 0).any() or (points.min(axis=0) >= (width, height)).any():
            outside += 1
        else:
            fill_polygon(mask, points)
    for run_lengths in outlines.run_lengths:
        mask |= decode_run_lengths(run_lengths, width, height)
    return mask, outside


def fill_polygon(mask: MaskArray, points: Floats) -> None:
    """Set the pixels of an (H, W) mask whose centres are inside a polygon (P, 2)."""
    height, width = mask.shape
    ends = np.roll(points, -1, axis=0)
    # An edge crosses the centre line r + 0.5 of each row r in [first, last).
    rising = np.sort(np.stack([points[:, 1], ends[:, 1]]), axis=0)  # (2, P)
    first, last = np.clip(np.ceil(rising - 0.5), 0, height).astype(np.int64)
    top, bottom = int(first.min()), int(last.max())
    crossed = np.zeros((bottom - top, width + 1), np.uint8)
    step = max(1, _CROSSINGS // max(1, bottom - top))
    for start in range(0, len(points), step):
        some = slice(start, start + step)
        counts = (last - first)[some]
        edge = np.repeat(np.arange(len(counts)) + start, counts)
        row = np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts, counts) + first[edge]
        share = (row + 0.5 - points[edge, 1]) / (ends[edge, 1] - points[edge, 1])
        crossing = points[edge, 0] + share * (ends[edge, 0] - points[edge, 0])
        column = np.clip(np.ceil(crossing - 0.5), 0, width).astype(np.int64)
        np.bitwise_xor.at(crossed, (row - top, column), np.uint8(1))
    # From each crossing on, a row's pixels change sides.
    mask[top:bottom] |= np.bitwise_xor.accumulate(crossed, axis=1)[:, :width]


def _turned(corners: Floats, centre: tuple[float, float], degrees: float) -> Polygon:
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    with np.errstate(over="ignore", invalid="ignore"):
        away = corners - np.array(centre)
        # The y axis points down: a positive angle turns clockwise as seen.
        return _flat(np.array(centre) + away @ np.array([[cosine, sine], [-sine, cosine]]))


def _flat(corners: Floats) -> Polygon:
    return tuple(float(value) for value in corners.ravel())
