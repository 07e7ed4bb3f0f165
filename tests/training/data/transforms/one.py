"""Short ways to apply one row of the table."""

import random

import numpy as np

from panvision.training.data.transforms import TRANSFORMS
from panvision.training.data.transforms.transform import Rng
from tests.training.data.packed_sets import STILL


def make_rng(seed):
    return Rng(random.Random(seed), np.random.default_rng(seed))  # noqa: S311 -- not for security


def transformed(name, sample, seed=1, draw=None, **settings):
    """The sample after one transform, with everything but `settings` off."""
    transform = TRANSFORMS[name](STILL.model_copy(update=settings))
    return transform(sample, make_rng(seed), draw)


def red_box(image):
    """x1, y1, x2, y2 of what is red rather than blue."""
    rows, columns = np.nonzero(image[..., 0] > 100)
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
