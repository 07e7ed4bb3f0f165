import numpy as np
import pytest

from panvision.training.data.samples import Sample
from tests.training.data.packed_sets import SIDE, paint
from tests.training.data.transforms.one import transformed

MASK = np.zeros((SIDE, SIDE), np.uint8)
MASK[8:24, 8:24] = 255
BOX = np.array([[8.0, 8.0, 24.0, 24.0]])  # centred
SAMPLE = Sample(paint(MASK), MASK, BOX, np.array([0]))


def test_zoom_is_drawn_from_its_range_and_keeps_the_centre():
    boxes = np.array([transformed("affine", SAMPLE, seed, scale=0.4).boxes[0] for seed in range(200)])
    zooms = (boxes[:, 2] - boxes[:, 0]) / 16
    assert zooms == pytest.approx((boxes[:, 3] - boxes[:, 1]) / 16)
    assert 0.6 <= zooms.min() < 0.65 and 1.35 < zooms.max() <= 1.4
    assert np.abs((boxes[:, :2] + boxes[:, 2:]) / 2 - SIDE / 2).max() <= 0.5


def test_shift_is_drawn_from_its_range_in_both_directions():
    boxes = np.array([transformed("affine", SAMPLE, seed, translate=0.25).boxes[0] for seed in range(200)])
    shifts = boxes[:, :2] - BOX[0, :2]
    assert (boxes[:, 2:] - boxes[:, :2] == 16).all()
    # In whole pixels, rounded towards 0.
    assert shifts.min(axis=0).tolist() == [-7, -7] and shifts.max(axis=0).tolist() == [7, 7]


def test_zoom_interpolates_images_and_masks_alike():
    assert len(np.unique(transformed("affine", SAMPLE, 3, scale=0.4).mask)) > 2
    for seed in range(20):
        zoomed = transformed("affine", SAMPLE, seed, scale=0.4)
        assert np.abs(zoomed.image[..., 0] / 200 - zoomed.mask / 255).max() <= 0.01
        centres = [np.average(np.arange(SIDE) + 0.5, weights=zoomed.mask.sum(axis=axis)) for axis in (0, 1)]
        x1, y1, x2, y2 = zoomed.boxes[0]
        assert centres == pytest.approx([(x1 + x2) / 2, (y1 + y2) / 2], abs=0.02)


def test_what_comes_in_from_outside_is_black():
    shifted = transformed("affine", SAMPLE, 2, translate=0.5)
    assert (shifted.image == 0).all(axis=2).any() and not (SAMPLE.image == 0).all(axis=2).any()
