"""Zoom and shift images."""

from collections.abc import Mapping
from typing import Any

import albumentations as A  # noqa: N812 -- the library's own convention
import cv2

from panvision.training.data.settings import AugmentSettings
from panvision.training.data.transforms.transform import Boxes, Wrapped


def zoom_and_shift(settings: AugmentSettings) -> Wrapped | None:
    """Return the zoom by `scale` with the shift by `translate`; what comes in from outside is black."""
    if not (settings.scale or settings.translate):
        return None
    scale = (1 - settings.scale, 1 + settings.scale)
    shift = (-settings.translate, settings.translate)
    # Masks hold parts of a pixel, which the nearest neighbour would shift.
    return Wrapped(
        A.Affine(
            scale=scale,
            translate_percent=shift,
            keep_ratio=True,
            mask_interpolation=cv2.INTER_LINEAR,
            p=1.0,
        ),
        _move,
    )


def _move(boxes: Boxes, applied: Mapping[str, Any]) -> Boxes:
    """Move boxes by a matrix without rotation and shear: they stay boxes."""
    matrix = applied["bbox_matrix"]  # (3, 3)
    corners = boxes.reshape(-1, 2, 2)  # (M, corner, x and y)
    return (corners * matrix.diagonal()[:2] + matrix[:2, 2]).reshape(-1, 4)
