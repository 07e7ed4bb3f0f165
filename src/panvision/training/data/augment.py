"""Augmentation of training samples; the only place that knows albumentations."""

import os
import random

# albumentations asks the network for a newer version at import unless told not to.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import albumentations as A  # noqa: N812 -- after the variable above; the library's own convention
import cv2
import numpy as np
import numpy.typing as npt

from panvision.training.data.settings import AugmentSettings

# OpenCV changes the pictures. Its threads have nothing to gain in pictures this small, and wait for work by spinning:
# they would take a core from the training steps and from the loader's other processes.
cv2.setNumThreads(1)

RgbArray = npt.NDArray[np.uint8]
MIN_BOX_SIDE = 1.0  # packed pixels; a box that a shift leaves thinner than this teaches nothing


class Augmentation:
    """Random changes of one sample, decided by the seed given with it alone.

    Args:
        settings: what may change, and how much.
    """

    def __init__(self, settings: AugmentSettings) -> None:
        self._transform = A.Compose(_transforms(settings))
        # This one tells what it did, so that boxes can be moved here: its own way, which checks and clips them between
        # any two changes, takes twice as long as changing the picture.
        self._telling = A.Compose(_transforms(settings), save_applied_params=True)

    def image(self, image: RgbArray, seed: int) -> RgbArray:
        """(S, S, 3) uint8 → the same, changed."""
        return _seeded(self._transform, seed)(image=image)["image"]

    def image_and_mask(self, image: RgbArray, mask: RgbArray, seed: int) -> tuple[RgbArray, RgbArray]:
        """(S, S, 3) and (S, S) uint8 → the same, changed alike; the mask keeps its values."""
        result = _seeded(self._transform, seed)(image=image, mask=mask)
        return result["image"], result["mask"]

    def image_and_boxes(
        self, image: RgbArray, boxes: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], seed: int
    ) -> tuple[RgbArray, npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """(S, S, 3) uint8, (M, 4) xyxy in pixels, (M,) → the same, changed alike; boxes moved out are gone."""
        side = image.shape[0]
        result = _seeded(self._telling, seed)(image=image)
        moved = boxes.astype(np.float64).reshape(-1, 2, 2)  # (M, 2, 2): two corners, x and y
        for name, params in result["applied_transforms"]:
            if name == "HorizontalFlip":
                moved[..., 0] = side - moved[:, ::-1, 0]
            elif name == "VerticalFlip":
                moved[..., 1] = side - moved[:, ::-1, 1]
            elif name == "Affine":
                # Zoom and shift only, so boxes stay boxes.
                moved = moved * params["bbox_matrix"].diagonal()[:2] + params["bbox_matrix"][:2, 2]
        moved = moved.clip(0, side)
        kept = ((moved[:, 1] - moved[:, 0]) >= MIN_BOX_SIDE).all(axis=1)
        return result["image"], moved[kept].reshape(-1, 4).astype(np.float32), np.asarray(labels)[kept].astype(np.int64)


def _seeded(transform: A.Compose, seed: int) -> A.Compose:
    """The transform, about to make the changes of one seed.

    Seeded per sample, not per worker: the number of workers cannot change what a sample looks like. One pair of
    generators for all parts takes a fraction of the time of `set_random_seed`, which makes a pair for each of them.
    """
    transform.set_random_state(np.random.default_rng(seed), random.Random(seed))  # noqa: S311 -- no secret
    return transform


def _transforms(settings: AugmentSettings) -> list[A.BasicTransform]:
    transforms: list[A.BasicTransform] = [
        A.HorizontalFlip(p=settings.horizontal_flip),
        A.VerticalFlip(p=settings.vertical_flip),
    ]
    if settings.scale or settings.translate:
        scale = (1 - settings.scale, 1 + settings.scale)
        shift = (-settings.translate, settings.translate)
        transforms.append(A.Affine(scale=scale, translate_percent=shift, keep_ratio=True, p=1.0))
    if settings.brightness or settings.contrast or settings.saturation or settings.hue:
        transforms.append(
            A.ColorJitter(
                brightness=(1 - settings.brightness, 1 + settings.brightness),
                contrast=(1 - settings.contrast, 1 + settings.contrast),
                saturation=(1 - settings.saturation, 1 + settings.saturation),
                hue=(-settings.hue, settings.hue),
                p=1.0,
            )
        )
    return transforms
