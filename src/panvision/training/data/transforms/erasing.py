"""Hide a rectangle of an image."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import albumentations as A  # noqa: N812 -- the library's own convention
import numpy as np

from panvision.dataset.packed import CROWD
from panvision.training.data.samples import Sample
from panvision.training.data.settings import AugmentSettings
from panvision.training.data.transforms.transform import Boxes, Draw, Rng, Wrapped

# Fraction of the image's area. Objects are smaller than in the photographs of one object each that Random Erasing
# (Zhong et al. 2020) hides up to 40 % of.
AREA = (0.02, 0.2)
# A box of which less is visible shows nothing to learn.
VISIBLE = 0.25


class Erasing(Wrapped):
    """A rectangle of one random colour.

    The mask stays: a pan under a hand is still there. Boxes of which less than VISIBLE is left are removed, except
    those of crowds: what is left of a crowd still hides objects without boxes.
    """

    def __call__(self, sample: Sample, rng: Rng, draw: Draw) -> Sample:
        """Return the changed sample."""
        changed = super().__call__(sample, rng, draw)
        if sample.boxes is None or changed.boxes is None or sample.labels is None:
            return changed
        crowd = (sample.labels <= CROWD)[:, None]  # (M, 1)
        return replace(changed, boxes=np.where(crowd, sample.boxes, changed.boxes))


def erasing(settings: AugmentSettings) -> Wrapped | None:
    """Return the rectangle, drawn with the probability `erasing`."""
    if not settings.erasing:
        return None
    return Erasing(A.Erasing(scale=AREA, fill="random_uniform", p=settings.erasing), _remove_hidden)


def _remove_hidden(boxes: Boxes, applied: Mapping[str, Any]) -> Boxes:
    """Shrink hidden boxes to nothing; augmentation removes them at its end."""
    (hole,) = applied["holes"]
    shared = np.minimum(boxes[:, 2:], hole[2:]) - np.maximum(boxes[:, :2], hole[:2])  # (M, 2)
    hidden = shared.clip(0).prod(axis=1) > (1 - VISIBLE) * (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    return np.where(hidden[:, None], 0.0, boxes)
