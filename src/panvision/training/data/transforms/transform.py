"""The form of a transform, and a wrapper that gives it to the transforms of albumentations."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import albumentations as A  # noqa: N812 -- the library's own convention
import cv2
import numpy as np
import numpy.typing as npt

from panvision.training.data.samples import Sample

# OpenCV changes the images. Images this small gain nothing from its threads, which wait for work by spinning and
# would take a core from the training steps and from the loader's other processes.
cv2.setNumThreads(1)

# The two things that a transform may change: pixel values only, or the positions of pixels.
IMAGE = frozenset({"image"})
GEOMETRY = frozenset({"image", "mask", "boxes"})

Draw = Callable[[], Sample]
Boxes = npt.NDArray[np.floating]
# (M, 4) xyxy and the parameters that albumentations drew → (M, 4) xyxy. Boxes may reach out of the image.
BoxRule = Callable[[Boxes, Mapping[str, Any]], Boxes]


class Rng(NamedTuple):
    """The random generators of one sample; all its transforms share them, one after the other."""

    python: random.Random
    numpy: np.random.Generator


class Transform(Protocol):
    """One random change of a sample.

    It must take every random number from `rng`, leave the arrays of the given sample as they are, and keep the sample's
    size and kinds of labels.
    """

    @property
    def moves(self) -> frozenset[str]:
        """IMAGE if positions stay, GEOMETRY if image, mask and boxes move together; a class attribute will do."""
        ...

    def __call__(self, sample: Sample, rng: Rng, draw: Draw) -> Sample:
        """Return the changed sample.

        Args:
            sample: with the labels of its dataset, the others None; its boxes may be float64.
            rng: source of all random numbers.
            draw: returns another sample of the same dataset, without augmentation; a different one at each call.
        """
        ...


@dataclass(frozen=True)
class Wrapped:
    """A transform of albumentations.

    A rule moves the boxes, because the library takes twice as long for them as for the image: it checks and clips them
    between any two transforms.

    Args:
        transform: of any kind; without a rule it must be an `ImageOnlyTransform`.
        boxes: moves the boxes.
    """

    transform: A.BasicTransform
    boxes: BoxRule | None = None

    @property
    def moves(self) -> frozenset[str]:
        """Image alone, or image and mask; the boxes too if there is a rule."""
        if isinstance(self.transform, A.ImageOnlyTransform):
            return IMAGE
        return GEOMETRY if self.boxes is not None else GEOMETRY - {"boxes"}

    def __call__(self, sample: Sample, rng: Rng, draw: Draw) -> Sample:
        """Return the changed sample."""
        self.transform.set_random_state(rng.numpy, rng.python)
        changed = self.transform(image=sample.image, mask=sample.mask)
        applied = self.transform.params
        if not applied:  # by its probability
            return sample
        boxes = sample.boxes
        if self.boxes is not None and boxes is not None:
            boxes = self.boxes(boxes, applied)
        return Sample(changed["image"], changed["mask"], boxes, sample.labels, sample.class_label)
