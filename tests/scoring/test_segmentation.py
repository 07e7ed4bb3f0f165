import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from panvision.scoring.segmentation import pixel_counts
from panvision.scoring.table import SCORERS, score

KEYS = ("miou", "iou.background", "iou.pan", "dice")


def scored(*counts):
    found = score("segmentation", counts, ["background", "pan"])
    return [found[key] for key in KEYS]


def test_compare_counts_pixels():
    part = {"mask": np.array([[255, 0, 255], [0, 0, 255]])}
    assert SCORERS["segmentation"].compare(part, {"mask": np.array([[1, 1, 0], [0, 0, 1]])}).tolist() == [2, 1, 1, 2]


def test_pixel_counts_refuse_other_shapes():
    with pytest.raises(ValueError, match="shape"):
        pixel_counts(np.zeros((2, 3)), np.zeros((3, 2)))


def test_metrics_by_hand():
    assert scored([2, 1, 1, 2]) == [0.5, 0.5, 0.5, pytest.approx(4 / 6)]


def test_pixels_are_summed_before_the_ratio():
    assert scored([10, 0, 0, 90], [0, 10, 0, 90])[2] == 0.5  # by image the IoU of the pan is 1 and 0
    assert scored([90, 0, 0, 10], [0, 10, 0, 90])[2] == 0.9


@given(st.integers(0, 2**32 - 1))
def test_perfect_masks_score_one(seed):
    masks = np.random.default_rng(seed).integers(0, 2, (3, 5, 7))
    masks[0, 0, :2] = [0, 1]
    assert scored(*(pixel_counts(mask, mask * 255) for mask in masks)) == [1.0] * 4


def test_undefined_metrics_are_left_out_of_the_mean():
    assert scored() == [None] * 4
    assert scored([0, 0, 0, 50]) == [1.0, 1.0, None, None]
