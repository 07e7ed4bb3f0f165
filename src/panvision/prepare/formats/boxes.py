"""Annotated boxes checked against their image."""

from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from panvision.dataset.problems import Problem, Severity, problem
from panvision.photos.orientation import Boxes, turn_boxes
from panvision.photos.pixels import Picture
from panvision.prepare.formats.layout import BoxLabels
from panvision.prepare.formats.sizes import fit_size

Flags = npt.NDArray[np.bool_]

# Clipping by less than this, in pixels, is rounding of the coordinates in the export, and not reported.
_ROUNDING = 0.01


class PlacedBoxes(NamedTuple):
    """Boxes (M, 4) x1, y1, x2, y2 in oriented original pixels inside the image; labels (M,) as in `BoxLabels`."""

    xyxy: npt.NDArray[np.float64]
    labels: npt.NDArray[np.int64]


def place_boxes(
    given: BoxLabels, picture: Picture, file: str, *, zero_area: Literal["drop", "refuse"]
) -> tuple[PlacedBoxes, list[Problem]]:
    """Convert annotated boxes to the image's own pixels and clip them to it.

    Sizes: annotations that state the size of the file before its EXIF rotation are rotated with the image; those of
    another size but the same shape are scaled; any other contradiction is an error. Fractions are of the stated size,
    or of the upright image if none is stated.

    Args:
        given: the boxes as annotated.
        picture: the decoded image.
        file: its path, for messages.
        zero_area: boxes without area inside the image are dropped with a warning, or are errors.
    """
    labels = np.array(given.labels, np.int64)
    if _all_inside(given, picture):
        corners = [(x, y, x + width, y + height) for x, y, width, height in given.xywh]
        return PlacedBoxes(np.array(corners, np.float64).reshape(-1, 4), labels), []
    xywh = _in_pixels(given, picture)
    finite: Flags = np.asarray(np.isfinite(xywh).all(axis=1))
    negative: Flags = finite & (xywh[:, 2:] < 0).any(axis=1)
    problems = [
        *_each("box_not_finite", file, "is not four finite numbers", given, ~finite),
        *_each("box_negative", file, "has a negative width or height", given, negative),
    ]
    # Boxes whose corners overflow are as unusable as infinite ones; they are clipped like any other far box.
    keep = finite & ~negative
    with np.errstate(over="ignore", invalid="ignore"):
        xyxy = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)
    xyxy, faults = _to_picture(np.where(keep[:, None], xyxy, 0.0), given, picture, file)
    problems += faults
    if any(fault.severity == "error" for fault in faults):
        # The place of the boxes is unknown, so they cannot be checked any further.
        return PlacedBoxes(np.zeros((0, 4)), labels[:0]), problems
    flat = keep & (xywh[:, 2:] == 0).any(axis=1)
    clipped, flat, outside = _clip(xyxy, picture, flat, keep)
    severity: Severity | None = "error" if zero_area == "refuse" else None
    problems += [
        *_each("box_zero_area", file, "has no area", given, flat, severity),
        *_each("box_outside", file, "is outside the image", given, outside, severity),
    ]
    keep &= ~flat & ~outside
    moved = np.abs(clipped[keep] - xyxy[keep]).max(axis=1, initial=0.0)
    far = int((moved > _ROUNDING).sum())
    if far:
        reason = f"{far} boxes reach out of the image, by up to {moved.max():.1f} pixels"
        problems.append(problem("box_clipped", file, reason))
    return PlacedBoxes(clipped[keep], labels[keep]), problems


def _all_inside(given: BoxLabels, picture: Picture) -> bool:
    """True if no box needs a check, which holds for most images and is fast to find out for a few boxes."""
    width, height = picture.size
    return (
        not given.relative
        and given.size in (None, (width, height))
        and all(
            x >= 0.0 and y >= 0.0 and w >= 1.0 and h >= 1.0 and x + w <= width and y + h <= height
            for x, y, w, h in given.xywh
        )
    )


def _clip(xyxy: Boxes, picture: Picture, flat: Flags, keep: Flags) -> tuple[Boxes, Flags, Flags]:
    """Return the boxes (M, 4) clipped to the image, and flags (M,) of boxes without area and of boxes outside.

    `flat` marks boxes without area as annotated, `keep` those that were usable so far.
    """
    width, height = picture.size
    clipped = np.clip(xyxy, 0.0, [width, height, width, height])
    outside = keep & ~flat & (clipped[:, 2:] <= clipped[:, :2]).any(axis=1)
    # A sliver without width once it is stored in 32 bits has no area either.
    narrow = clipped.astype(np.float32)
    return clipped, flat | (keep & ~outside & (narrow[:, 2:] <= narrow[:, :2]).any(axis=1)), outside


def _in_pixels(given: BoxLabels, picture: Picture) -> Boxes:
    """Return the annotated boxes (M, 4) x, y, width, height in pixels of the size that they were drawn on."""
    xywh = np.array(given.xywh, np.float64).reshape(-1, 4)
    if not given.relative:
        return xywh
    width, height = picture.size
    with np.errstate(over="ignore", invalid="ignore"):
        return xywh * np.array((given.size or (width, height)) * 2)


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
    """Convert boxes from the size that the annotations state to the image's own pixels."""
    fit = fit_size(given.size, picture)
    match fit.kind:
        case "same":
            return xyxy, []
        case "turned":
            width, height = picture.stored_size
            turned = turn_boxes(xyxy, picture.orientation, width=width, height=height)
            return turned, [problem("boxes_rotated", file, f"annotated before the EXIF rotation {picture.orientation}")]
        case "scaled":
            with np.errstate(over="ignore"):
                return xyxy * np.array(fit.scale * 2), [problem("boxes_scaled", file, fit.text)]
        case "swapped":
            return xyxy, [problem("image_size_swapped", file, fit.text)]
        case "contradictory":
            return xyxy, [problem("image_size", file, fit.text)]
