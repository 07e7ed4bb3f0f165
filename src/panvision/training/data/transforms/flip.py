"""Mirror images, left to right and upside down."""

from collections.abc import Mapping
from typing import Any

import albumentations as A  # noqa: N812 -- the library's own convention

from panvision.training.data.settings import AugmentSettings
from panvision.training.data.transforms.transform import Boxes, Wrapped


def horizontal(settings: AugmentSettings) -> Wrapped | None:
    """Return the flip from left to right."""
    p = settings.horizontal_flip
    return Wrapped(A.HorizontalFlip(p=p), _mirror_x) if p else None


def vertical(settings: AugmentSettings) -> Wrapped | None:
    """Return the flip upside down."""
    p = settings.vertical_flip
    return Wrapped(A.VerticalFlip(p=p), _mirror_y) if p else None


def _mirror_x(boxes: Boxes, applied: Mapping[str, Any]) -> Boxes:
    width = applied["shape"][1]
    return boxes[:, [2, 1, 0, 3]] * (-1, 1, -1, 1) + (width, 0, width, 0)


def _mirror_y(boxes: Boxes, applied: Mapping[str, Any]) -> Boxes:
    height = applied["shape"][0]
    return boxes[:, [0, 3, 2, 1]] * (1, -1, 1, -1) + (0, height, 0, height)
