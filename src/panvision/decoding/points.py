"""Locations of the detection head's predictions on the image."""

from collections.abc import Sequence

import numpy as np

from panvision.decoding.decoder import FloatArray


def level_points(image_size: int, strides: Sequence[int]) -> tuple[FloatArray, FloatArray]:
    """Centres of the cells of all levels, in the order of the flattened raw outputs.

    Args:
        image_size: side S of the model's square input in pixels.
        strides: pixels per cell of each level.

    Returns:
        Locations (P, 2) float32 as (x, y) in pixels, level by level, row by row, and the stride (P,) float32 of
        each location's level.
    """
    points, point_strides = [], []
    for stride in strides:
        # A cell covers [i * stride, (i + 1) * stride): its centre is half a stride in, as in the training targets.
        centres = (np.arange(image_size // stride, dtype=np.float32) + 0.5) * stride
        x, y = np.meshgrid(centres, centres)
        points.append(np.stack([x.ravel(), y.ravel()], axis=1))  # (h * w, 2)
        point_strides.append(np.full(x.size, stride, dtype=np.float32))
    return np.concatenate(points), np.concatenate(point_strides)
