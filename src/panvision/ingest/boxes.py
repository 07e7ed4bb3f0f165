"""Annotated boxes checked against the picture they belong to."""

from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from panvision.ingest.layout import BoxLabels
from panvision.ingest.orientation import Boxes, turn_boxes
from panvision.ingest.problems import Problem, Severity, problem
from panvision.pixels import Picture

Flags = npt.NDArray[np.bool_]

# Two sizes have the same shape if their sides' ratios differ by no more than this share.
_SAME_SHAPE = 0.01
# Clipping by less than this (rounding of the coordinates in the export) is not worth a line, in pixels.
_ROUNDING = 0.01


class PlacedBoxes(NamedTuple):
    """Boxes (M, 4) x1, y1, x2, y2 in oriented original pixels inside the picture; labels (M,) class indexes."""

    xyxy: npt.NDArray[np.float64]
    labels: npt.NDArray[np.int64]


def place_boxes(
    given: BoxLabels, picture: Picture, file: str, *, zero_area: Literal["drop", "refuse"]
) -> tuple[PlacedBoxes, list[Problem]]:
    """Bring annotated boxes into the picture's own pixels and clip them to it.

    Sizes: annotations that state the size of the file before its EXIF rotation are rotated with the picture;
    those of another size but the same shape are scaled; any other contradiction is an error.

    Args:
        given: the boxes as annotated.
        picture: the decoded image.
        file: its path, for messages.
        zero_area: boxes without area inside the picture are dropped with a warning, or are errors.
    """
    xywh = np.array(given.xywh, np.float64).reshape(-1, 4)
    labels = np.array(given.labels, np.int64)
    finite: Flags = np.asarray(np.isfinite(xywh).all(axis=1))
    negative: Flags = finite & (xywh[:, 2:] < 0).any(axis=1)
    problems = [
        *_each("box_not_finite", file, "is not four finite numbers", given, ~finite),
        *_each("box_negative", file, "has a negative width or height", given, negative),
    ]
    # Boxes whose corners overflow are as unusable as infinite ones; they are clipped like any other far box.
    keep = finite & ~negative
    xyxy = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)
    xyxy, faults = _to_picture(np.where(keep[:, None], xyxy, 0.0), given, picture, file)
    problems += faults
    height, width = picture.rgb.shape[:2]
    clipped = np.clip(xyxy, 0.0, [width, height, width, height])
    flat = keep & (xywh[:, 2:] == 0).any(axis=1)
    outside = keep & ~flat & (clipped[:, 2:] <= clipped[:, :2]).any(axis=1)
    # A sliver that has no width left once it is stored in 32 bits is as flat.
    narrow = clipped.astype(np.float32)
    flat |= keep & ~outside & (narrow[:, 2:] <= narrow[:, :2]).any(axis=1)
    severity: Severity | None = "error" if zero_area == "refuse" else None
    problems += [
        *_each("box_zero_area", file, "has no area", given, flat, severity),
        *_each("box_outside", file, "lies outside the picture", given, outside, severity),
    ]
    keep &= ~flat & ~outside
    moved = np.abs(clipped - xyxy).max(axis=1, initial=0.0) * keep
    if (moved > _ROUNDING).any():
        reason = f"{int((moved > _ROUNDING).sum())} boxes reach out of the picture, by up to {moved.max():.1f} pixels"
        problems.append(problem("box_clipped", file, reason))
    return PlacedBoxes(clipped[keep], labels[keep]), problems


def _each(
    code: str,
    file: str,
    reason: str,
    given: BoxLabels,
    wrong: Flags,
    severity: Severity | None = None,
) -> list[Problem]:
    return [
        problem(code, file, f"annotation {given.ids[row]}: {list(given.xywh[row])} {reason}", severity)
        for row in np.flatnonzero(wrong)
    ]


def _to_picture(xyxy: Boxes, given: BoxLabels, picture: Picture, file: str) -> tuple[Boxes, list[Problem]]:
    """Boxes in the pixels of the size that the annotations state, in the picture's own pixels."""
    height, width = picture.rgb.shape[:2]
    if given.size is None or given.size == (width, height):
        return xyxy, []
    stated_width, stated_height = given.size
    if given.size == picture.stored_size:
        turned = turn_boxes(xyxy, picture.orientation, width=stated_width, height=stated_height)
        return turned, [problem("boxes_rotated", file, f"annotated before the EXIF rotation {picture.orientation}")]
    text = f"annotated as {stated_width:g}x{stated_height:g}, the picture is {width}x{height}"
    if abs(stated_width * height - stated_height * width) <= _SAME_SHAPE * stated_height * width:
        scale = np.array([width / stated_width, height / stated_height] * 2)
        return xyxy * scale, [problem("boxes_scaled", file, text)]
    return xyxy, [problem("image_size", file, text)]
