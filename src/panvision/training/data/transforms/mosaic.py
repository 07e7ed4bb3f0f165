"""Put parts of four images together."""

from dataclasses import dataclass, replace
from typing import ClassVar

import cv2
import numpy as np
import numpy.typing as npt

from panvision.dataset.packed import CROWD
from panvision.training.data.samples import Sample
from panvision.training.data.settings import AugmentSettings
from panvision.training.data.transforms.transform import GEOMETRY, Boxes, Draw, Rng

# Where the four meet, as fractions of the side.
CENTRE = (0.25, 0.75)
# Boxes of which a part shows a smaller fraction are removed, as in Ultralytics' YOLO.
VISIBLE = 0.1

Place = tuple[int, int, int, int]  # left, top, right, bottom


@dataclass(frozen=True)
class Mosaic:
    """Four images in one (Bochkovskiy et al. 2020), of samples with boxes; other samples stay as they are.

    Each quadrant shows a random part of one image, at 0.5 to 1 of its size and large enough to fill the quadrant.

    Args:
        probability: of a mosaic in place of the image.
    """

    probability: float
    moves: ClassVar = GEOMETRY

    def __call__(self, sample: Sample, rng: Rng, draw: Draw) -> Sample:
        """Return the mosaic of a sample and three drawn ones."""
        if sample.boxes is None or rng.python.random() >= self.probability:
            return sample
        samples, side = [sample, draw(), draw(), draw()], len(sample.image)
        rng.python.shuffle(samples)
        x, y = (rng.python.randint(round(CENTRE[0] * side), round(CENTRE[1] * side)) for _ in range(2))
        places = ((0, 0, x, y), (x, 0, side, y), (0, y, x, side), (x, y, side, side))
        parts = [_part(each, place, rng) for each, place in zip(samples, places, strict=True)]
        image, mask = np.empty_like(sample.image), None if sample.mask is None else np.empty_like(sample.mask)
        for part, (left, top, right, bottom) in zip(parts, places, strict=True):
            image[top:bottom, left:right] = part.image
            if mask is not None and part.mask is not None:
                mask[top:bottom, left:right] = part.mask
        boxes = np.concatenate([part.boxes for part in parts if part.boxes is not None])
        labels = np.concatenate([part.labels for part in parts if part.labels is not None])
        return replace(sample, image=image, mask=mask, boxes=boxes, labels=labels)


def mosaic(settings: AugmentSettings) -> Mosaic | None:
    """Return the mosaic with the probability `mosaic`."""
    return Mosaic(settings.mosaic) if settings.mosaic else None


def _part(sample: Sample, place: Place, rng: Rng) -> Sample:
    """Return a random part of a sample that fills a place, its boxes where they are in the mosaic."""
    side, (x, y) = len(sample.image), place[:2]
    size = (place[2] - x, place[3] - y)  # width and height
    zoom = rng.python.uniform(max(0.5, max(size) / side), 1.0)
    width, height = (min(side, round(length / zoom)) for length in size)
    left, top = rng.python.randint(0, side - width), rng.python.randint(0, side - height)
    window = np.s_[top : top + height, left : left + width]
    mask = None if sample.mask is None else _shrink(sample.mask[window], size)
    part = replace(sample, image=_shrink(sample.image[window], size), mask=mask)
    if sample.boxes is None or sample.labels is None:
        return part
    zooms = np.tile((size[0] / width, size[1] / height), 2)
    boxes = (sample.boxes - (left, top, left, top)) * zooms + (x, y, x, y)
    shown = boxes.clip((x, y, x, y), (*place[2:], *place[2:]))
    # What is left of a crowd still hides objects without boxes.
    kept = (_areas(shown) >= VISIBLE * _areas(boxes)) | (sample.labels <= CROWD)
    return replace(part, boxes=shown[kept], labels=sample.labels[kept])


def _shrink(pixels: npt.NDArray[np.uint8], size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Return means over areas; 0 and 1 of a mask are rounded to 0 and 1, fractions of a pixel stay fractions."""
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)


def _areas(boxes: Boxes) -> Boxes:
    """Return the areas of (M, 4) xyxy boxes, (M,)."""
    sides: Boxes = boxes[:, 2:] - boxes[:, :2]
    return sides[:, 0] * sides[:, 1]
