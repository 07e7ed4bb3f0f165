"""Show two images through each other."""

from dataclasses import dataclass, replace
from typing import ClassVar

import cv2
import numpy as np

from panvision.training.data.samples import Sample
from panvision.training.data.settings import AugmentSettings
from panvision.training.data.transforms.transform import GEOMETRY, Draw, Rng

# Of the beta distribution that the image's weight is drawn from, as in Ultralytics' YOLO: 0.5 ± 0.06, so that the
# objects of both can be seen.
ALPHA = 32.0


@dataclass(frozen=True)
class Mixup:
    """The weighted mean of two images with the boxes of both (Zhang et al. 2019), of samples with boxes.

    Other samples stay as they are. Masks are united.

    Args:
        probability: of such a mean in place of the image.
    """

    probability: float
    moves: ClassVar = GEOMETRY

    def __call__(self, sample: Sample, rng: Rng, draw: Draw) -> Sample:
        """Return the mean of a sample and a drawn one."""
        if sample.boxes is None or rng.python.random() >= self.probability:
            return sample
        other, weight = draw(), float(rng.numpy.beta(ALPHA, ALPHA))
        both = (sample, other)
        return replace(
            sample,
            image=np.asarray(cv2.addWeighted(sample.image, weight, other.image, 1 - weight, 0), np.uint8),
            mask=None if sample.mask is None or other.mask is None else np.maximum(sample.mask, other.mask),
            boxes=np.concatenate([each.boxes for each in both if each.boxes is not None]),
            labels=np.concatenate([each.labels for each in both if each.labels is not None]),
        )


def mixup(settings: AugmentSettings) -> Mixup | None:
    """Return the mean of two images with the probability `mixup`."""
    return Mixup(settings.mixup) if settings.mixup else None
