import numpy as np
import pytest

from panvision.decoding.points import level_points


def test_level_points_are_cell_centres_in_order() -> None:
    points, strides = level_points(64, (16, 32))
    assert points.shape == (16 + 4, 2)
    assert points[:5].tolist() == [[8, 8], [24, 8], [40, 8], [56, 8], [8, 24]]
    assert points[16:].tolist() == [[16, 16], [48, 16], [16, 48], [48, 48]]
    assert strides.tolist() == [16.0] * 16 + [32.0] * 4


@pytest.mark.parametrize("size", [64, 128, 256])
def test_level_points_are_inside_the_image(size: int) -> None:
    points, strides = level_points(size, (8, 16, 32))
    assert points.dtype == strides.dtype == np.float32
    assert points.min() == 4.0
    assert points.max() == size - 4.0
