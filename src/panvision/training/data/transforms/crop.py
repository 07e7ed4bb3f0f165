"""Cut out a part of an image and enlarge it to the whole."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import albumentations as A  # noqa: N812 -- the library's own convention
import cv2
import numpy as np

from panvision.training.data.samples import Sample
from panvision.training.data.settings import AugmentSettings
from panvision.training.data.transforms.transform import GEOMETRY, Boxes, Draw, Rng, Wrapped


@dataclass(frozen=True)
class ResizedCrop:
    """A part of the image with an aspect ratio from 3:4 to 4:3, enlarged to the image's size.

    Args:
        smallest: fraction of the image's area that the smallest part has.
    """

    smallest: float
    moves: ClassVar = GEOMETRY

    def __call__(self, sample: Sample, rng: Rng, draw: Draw) -> Sample:
        """Return the enlarged part."""
        return _resized_crop(self.smallest, len(sample.image))(sample, rng, draw)


def resized_crop(settings: AugmentSettings) -> ResizedCrop | None:
    """Return the crop, whose area is drawn from 1 - `crop` to 1 of the image's."""
    return ResizedCrop(1 - settings.crop) if settings.crop else None


@lru_cache
def _resized_crop(smallest: float, side: int) -> Wrapped:
    """Return the crop of images of one size, which the library wants to know beforehand."""
    # Linear for the mask, too: it may hold fractions of a pixel, and 0 and 1 are rounded to 0 and 1.
    crop = A.RandomResizedCrop((side, side), (smallest, 1.0), mask_interpolation=cv2.INTER_LINEAR, p=1.0)
    return Wrapped(crop, _enlarge)


def _enlarge(boxes: Boxes, applied: Mapping[str, Any]) -> Boxes:
    left, top, right, bottom = applied["crop_coords"]
    height, width = applied["shape"][:2]
    factors = np.array([width / (right - left), height / (bottom - top)])
    return (boxes - (left, top, left, top)) * np.tile(factors, 2)
