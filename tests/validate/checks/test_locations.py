from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from panvision.core.levels import CENTER_RADIUS, STRIDES
from panvision.training.losses.targets import make_points
from panvision.validate.checks.locations import boxes_off_grid, has_location
from tests.training.data.packed_sets import SIDE, packed_sets

POINTS = {size: make_points(size, STRIDES) for size in (64, 128, 256)}


def by_all_locations(boxes, size):
    """FCOS's rules as `training.losses.targets` has them, for every location of every level."""
    xy, strides, reach = (values.numpy() for values in POINTS[size])
    start, end = boxes[:, None, :2], boxes[:, None, 2:]
    ltrb = np.concatenate([xy - start, end - xy], axis=2)  # (M, P, 4)
    near = np.abs(xy - (start + end) / 2).max(axis=2) < CENTER_RADIUS * strides
    farthest = ltrb.max(axis=2)
    return ((ltrb.min(axis=2) > 0) & near & (farthest > reach[:, 0]) & (farthest <= reach[:, 1])).any(axis=1)


@given(
    arrays.arrays(np.float32, (20, 4), elements=st.floats(0, 1, width=32)),
    st.sampled_from(sorted(POINTS)),
    st.booleans(),
)
@settings(deadline=None)
def test_has_location_agrees_with_all_locations(fractions, size, thin):
    sides = fractions[:, 2:] * ([0.1, 0.7] if thin else [0.12, 0.12])
    start = fractions[:, :2] * (1 - sides)
    boxes = (np.concatenate([start, start + sides], axis=1) * size).astype(np.float32)
    assert (has_location(boxes, size) == by_all_locations(boxes, size)).all()


@pytest.mark.parametrize(
    ("width", "height", "size", "share"),
    [
        (6, 6, 128, 0.44),
        (7, 7, 128, 0.24),
        (8, 8, 128, 0.0),
        (8, 70, 128, 0.40),
        (12, 70, 128, 0.21),
        (8, 70, 256, 0.0),
    ],
)
def test_share_of_boxes_without_location(width, height, size, share):
    """Thin boxes fall between the grids: their length decides the level, their width must hit its cells."""
    start = np.random.default_rng(0).uniform(0, 1, (5000, 2)) * (size - width, size - height)
    boxes = np.concatenate([start, start + np.array([width, height])], axis=1)
    assert 1 - has_location(boxes, size).mean() == pytest.approx(share, abs=0.03)


def test_boxes_off_grid_are_counted_by_class():
    packed = packed_sets()["detection"]  # 32 px square, boxes in pixels of images of 64 px
    boxes = [np.array([[0, 0, 24, 24]], np.float32)] * len(packed)
    boxes[2] = np.array([[0, 0, 24, 24], [9, 9, 11, 14], [1, 1, 3, 4]], np.float32)
    labels = [np.zeros(len(own), np.int64) for own in boxes]
    labels[3] = np.ones(1, np.int64)
    (found,) = boxes_off_grid(replace(packed, boxes=boxes, labels=labels))
    assert (found.code, found.file) == ("boxes_off_grid", "detection")
    assert found.reason == (
        f"2 of 6 a boxes are too small or thin for data.image_size {SIDE}, first in 2.png: 1.0 × 2.5 px there"
    )
    none = [np.zeros((0, 4), np.float32)] * len(packed)
    assert not list(boxes_off_grid(replace(packed, boxes=none, labels=[np.zeros(0, np.int64)] * len(packed))))
