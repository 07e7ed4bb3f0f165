import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from panvision.labelling.polygons import outline_mask, trace_rings
from panvision.prepare.formats.outlines import fill_polygon

SIDES = st.tuples(st.integers(1, 12), st.integers(1, 12))
MASKS = SIDES.flatmap(lambda size: arrays(np.uint8, size, elements=st.sampled_from([0, 255])))
RING = np.array([[1, 1, 1, 1, 1], [1, 0, 0, 0, 1], [1, 0, 1, 0, 1], [1, 0, 0, 0, 1], [1, 1, 1, 1, 1]], np.uint8)


def drawn(outlines, shape):
    mask = np.zeros(shape, np.uint8)
    for polygon in outlines.polygons:
        fill_polygon(mask, np.array(polygon).reshape(-1, 2))
    return mask


def disc(side, radius, hole=0.0):
    y, x = np.mgrid[:side, :side] + 0.5 - side / 2
    return ((np.hypot(x, y) < radius) & (np.hypot(x - radius / 4, y) >= hole)).astype(np.uint8)


@settings(deadline=None)
@given(MASKS)
@example(RING)
@example(np.array([[1, 0], [0, 1]], np.uint8))
@example(1 - np.eye(3, dtype=np.uint8))
def test_polygons_without_tolerance_draw_the_mask(mask):
    outlines = outline_mask(mask, 0.0)
    assert np.array_equal(drawn(outlines, mask.shape), mask > 0)
    assert (outlines.distance, outlines.iou) == (0.0, 1.0)


@pytest.mark.parametrize("tolerance", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("hole", [0, 20])
def test_stated_errors_are_those_of_the_drawn_mask(tolerance, hole):
    mask = disc(200, 80, hole)
    outlines = outline_mask(mask, tolerance)
    again = drawn(outlines, mask.shape)
    assert outlines.iou == pytest.approx((mask & again).sum() / (mask | again).sum())
    assert 0 < outlines.distance <= tolerance and outlines.iou > 0.95
    corners = sum(len(polygon) for polygon in outlines.polygons) // 2
    assert corners < {0.5: 400, 1.0: 100, 3.0: 40}[tolerance]


def test_a_hole_is_joined_to_its_area_and_an_island_is_its_own():
    assert len(outline_mask(RING, 0.0).polygons) == 2
    assert len(outline_mask(disc(60, 20, 6), 1.0).polygons) == 1


def test_a_spot_of_one_pixel_is_kept():
    mask = np.zeros((9, 9), np.uint8)
    mask[4, 4] = 255
    (polygon,) = outline_mask(mask, 5.0).polygons
    assert sorted(zip(polygon[0::2], polygon[1::2], strict=True)) == [(4, 4), (4, 5), (5, 4), (5, 5)]


def test_specks_are_left_out_and_counted():
    mask = np.zeros((100, 100), np.uint8)
    mask[20:60, 20:60] = 255
    mask[30:33, 30:33] = 0
    mask[80:83, 80:83] = 255
    mask[90:94, 90:93] = 255
    outlines = outline_mask(mask, 0.0, 0.001)
    again = drawn(outlines, mask.shape)
    assert again[20:60, 20:60].all() and not again[80:83, 80:83].any() and again[90:94, 90:93].all()
    assert (len(outlines.polygons), outlines.specks) == (2, 2)
    assert outlines.iou == pytest.approx((1600 - 9 + 12) / (1600 + 12 + 9))


def test_an_empty_mask_has_no_polygons():
    outlines = outline_mask(np.zeros((3, 4), np.uint8), 1.0)
    assert outlines.polygons == () and outlines.iou == 1.0


def test_corners_run_clockwise_around_areas():
    (ring,) = trace_rings(np.ones((2, 3), bool))
    assert ring.tolist() == [[0, 0], [3, 0], [3, 2], [0, 2]]


@pytest.mark.parametrize("mask", [np.eye(3, dtype=np.uint8), np.eye(3, dtype=np.uint8)[::-1]])
def test_areas_that_touch_at_corners_are_separate(mask):
    polygons = outline_mask(mask, 0.0).polygons
    assert sorted(len(polygon) for polygon in polygons) == [8, 8, 8]
