import numpy as np
import pytest

from panvision.training.data.samples import Sample
from tests.training.data.packed_sets import SIDE, full_sample
from tests.training.data.transforms.one import transformed

WHOLE = np.array([[0.0, 0.0, SIDE, SIDE]])


def test_crop_area_is_drawn_from_its_range():
    """The whole image's box shows how much it was enlarged."""
    sample = Sample(full_sample(0).image, boxes=WHOLE, labels=np.array([0]))
    boxes = np.array([transformed("crop", sample, seed, crop=0.6).boxes[0] for seed in range(300)])
    widths, heights = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    areas = SIDE**2 / (widths * heights)
    assert 0.38 < areas.min() < 0.45 and 0.9 < areas.max() <= 1.0
    # Width and height are whole pixels: one more or less than 3:4 to 4:3.
    assert (heights / widths).min() == pytest.approx(3 / 4, abs=0.06)
    assert (boxes[:, :2] <= 0).all() and (boxes[:, 2:] >= SIDE).all()


def test_crop_keeps_the_fractions_of_a_soft_mask():
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[:, SIDE // 2 :] = 255
    cropped = transformed("crop", Sample(full_sample(0).image, mask), 3, crop=0.6).mask
    assert cropped.dtype == np.uint8 and {0, 255} < set(np.unique(cropped).tolist())
