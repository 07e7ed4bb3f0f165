"""Boxes that are too small or too thin for the detection head's grid."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from panvision.core.levels import CENTER_RADIUS, STRIDES, level_reach
from panvision.dataset.packed import PackedError, PackedSet
from panvision.dataset.problems import Problem, problem


def boxes_off_grid(packed: PackedSet) -> Iterator[Problem]:
    """Count, by class, the boxes for which FCOS has no positive location at the dataset's image size.

    The usual levels (P3 to P5) and centre sampling are assumed. `training.losses.targets` gives such a box the nearest
    location.

    Returns:
        `boxes_off_grid`, one for each class that has any.

    Raises:
        PackedError: the dataset has no boxes.
    """
    if packed.boxes is None or packed.labels is None:
        raise PackedError(f"{packed.folder}: {packed.task} has no boxes")
    rows = np.repeat(np.arange(len(packed)), [len(labels) for labels in packed.labels])
    labels = np.concatenate([np.zeros(0, np.int64), *packed.labels])
    boxes = np.concatenate([np.zeros((0, 4), np.float32), *map(packed.packed_boxes, range(len(packed)))])
    off_grid = ~has_location(boxes, packed.image_size)
    for label, name in enumerate(packed.classes):
        found = np.flatnonzero(off_grid & (labels == label))
        if len(found):
            left, top, right, bottom = boxes[found[0]]
            reason = (
                f"{len(found)} of {np.count_nonzero(labels == label)} {name} boxes are too small or thin for "
                f"data.image_size {packed.image_size}, first in {packed.files[rows[found[0]]]}: "
                f"{right - left:.1f} × {bottom - top:.1f} px there"
            )
            yield problem("boxes_off_grid", packed.task, reason)


def has_location(boxes: npt.NDArray[np.floating], image_size: int) -> npt.NDArray[np.bool_]:
    """Return (M,), True for boxes with a positive location by FCOS (Tian et al. 2020, sections 3.2 and 3.3).

    The location is in the box, near its centre, and on a level that answers for the distance of its farthest edge.

    Args:
        boxes: (M, 4) x1, y1, x2, y2 in pixels of the square.
        image_size: side of the square.
    """
    boxes = boxes.astype(np.float32)
    found = np.zeros(len(boxes), bool)
    near = np.arange(-int(CENTER_RADIUS) - 1, int(CENTER_RADIUS) + 2)  # cells around the one of the centre
    for stride, (low, high) in zip(STRIDES, level_reach(image_size, len(STRIDES)), strict=True):
        sides = []
        for start, end in ((boxes[:, 0], boxes[:, 2]), (boxes[:, 1], boxes[:, 3])):
            centre = ((start + end) / 2)[:, None]
            cells = np.floor(centre / stride) + near  # (M, C)
            place = ((cells + 0.5) * stride).astype(np.float32)
            before, after = place - start[:, None], end[:, None] - place
            inside = (before > 0) & (after > 0) & (np.abs(place - centre) < CENTER_RADIUS * stride)
            inside &= (cells >= 0) & (cells < image_size // stride)
            sides.append((inside, np.maximum(before, after)))
        (in_x, far_x), (in_y, far_y) = sides
        farthest = np.maximum(far_x[:, :, None], far_y[:, None, :])  # (M, C, C)
        fits = in_x[:, :, None] & in_y[:, None, :] & (farthest > low) & (farthest <= high)
        found |= fits.any(axis=(1, 2))
    return found
