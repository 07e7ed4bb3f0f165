"""Augmentation: all transforms of one sample, decided by one seed."""

import random
from dataclasses import replace

import numpy as np

from panvision.training.data.samples import Sample
from panvision.training.data.settings import AugmentSettings
from panvision.training.data.transforms import make_transforms
from panvision.training.data.transforms.transform import Draw, Rng

MIN_BOX_SIDE = 1.0  # packed pixels; a box that a shift leaves thinner than this teaches nothing


class Augmentation:
    """Random changes of a sample.

    Args:
        settings: which changes, and how strong; of one dataset.

    Raises:
        TrainingError: a transform does not say how it moves boxes.
    """

    def __init__(self, settings: AugmentSettings) -> None:
        self._settings = settings
        self._transforms = make_transforms(settings)

    def __reduce__(self) -> tuple[type["Augmentation"], tuple[AugmentSettings]]:
        """Pickle the settings alone: the transforms made from them take a hundred times as many bytes."""
        return Augmentation, (self._settings,)

    def __call__(self, sample: Sample, seed: int, draw: Draw) -> Sample:
        """Return the changed sample. Boxes are clipped to the image; boxes without a pixel inside are removed.

        Args:
            sample: stays as it is.
            seed: decides every change. It belongs to the sample and not to the worker, so the number of workers changes
                no sample.
            draw: returns another sample of the same dataset.
        """
        rng = Rng(random.Random(seed), np.random.default_rng(seed))  # noqa: S311 -- not for security
        rng.python.random()  # albumentations' Compose draws one number first: a seed means the same here and there
        sample = _clipped(sample)
        for transform in self._transforms:
            changed = transform(sample, rng, draw)
            # What left the image is lost: a later transform must not move its box in again.
            sample = changed if changed.boxes is sample.boxes else _clipped(changed)
        return _without_slivers(sample)


def _clipped(sample: Sample) -> Sample:
    """Return the sample with its boxes clipped to the image, float64."""
    if sample.boxes is None:
        return sample
    return replace(sample, boxes=sample.boxes.clip(0, len(sample.image), dtype=np.float64))


def _without_slivers(sample: Sample) -> Sample:
    """Return the sample without boxes thinner than MIN_BOX_SIDE, its boxes float32."""
    if sample.boxes is None or sample.labels is None:
        return sample
    kept = ((sample.boxes[:, 2:] - sample.boxes[:, :2]) >= MIN_BOX_SIDE).all(axis=1)  # (M,)
    return replace(sample, boxes=sample.boxes[kept].astype(np.float32), labels=sample.labels[kept])
