import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.distance import cdist

from panvision.evaluation.boundary import boundary_distances, boundary_pixels


def square(left, top, right, bottom, size=40):
    mask = np.zeros((size, size), np.uint8)
    mask[top:bottom, left:right] = 1
    return mask


def test_a_shifted_edge_is_as_far_as_it_was_shifted():
    # Both reach over the picture's edge but for their right side, so only that is a boundary.
    assert boundary_distances(square(0, 0, 20, 40), square(0, 0, 23, 40)) == pytest.approx((3.0, 3.0))
    assert boundary_distances(square(5, 5, 20, 30), square(5, 5, 20, 30)) == (0.0, 0.0)


def test_boundary_distances_without_a_boundary():
    whole, nothing = square(0, 0, 40, 40), square(0, 0, 0, 0)
    for other in (whole, nothing):
        assert boundary_distances(square(5, 5, 20, 30), other) is None
        assert boundary_distances(other, square(5, 5, 20, 30)) is None


@settings(max_examples=40, deadline=None)
@given(arrays(bool, (2, 9, 12), elements=st.booleans()))
def test_distances_are_those_of_all_pairs(masks):
    places = []
    for mask in masks:
        places.append(
            [
                (y, x)
                for y in range(9)
                for x in range(12)
                if mask[y, x]
                and any(
                    0 <= y + dy < 9 and 0 <= x + dx < 12 and not mask[y + dy, x + dx]
                    for dy, dx in ((1, 0), (-1, 0), (0, 1), (0, -1))
                )
            ]
        )
        assert list(zip(*np.nonzero(boundary_pixels(mask)), strict=True)) == places[-1]
    found = boundary_distances(*masks)
    if not all(places):
        assert found is None
        return
    pairs = cdist(*places)
    distances = np.concatenate([pairs.min(axis=0), pairs.min(axis=1)])
    assert found == pytest.approx((distances.mean(), np.percentile(distances, 95)), abs=1e-5)
