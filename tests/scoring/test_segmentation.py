import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from panvision.scoring.segmentation import pixel_counts, segmentation_scores

COUNTS = st.lists(st.tuples(*[st.integers(0, 1000)] * 4), max_size=8)


def test_pixel_counts_by_hand() -> None:
    truth = np.array([[1, 1, 0], [0, 0, 1]])
    predicted = np.array([[255, 0, 255], [0, 0, 255]])
    assert pixel_counts(truth, predicted).tolist() == [2, 1, 1, 2]


def test_pixel_counts_refuse_other_shapes() -> None:
    with pytest.raises(ValueError, match="shape"):
        pixel_counts(np.zeros((2, 3)), np.zeros((3, 2)))


def test_scores_by_hand() -> None:
    scores = segmentation_scores([[2, 1, 1, 2]])
    assert scores == {"miou": 0.5, "iou": {"background": 0.5, "pan": 0.5}, "dice": pytest.approx(4 / 6)}


def test_pixels_are_summed_over_the_set_before_the_ratio() -> None:
    counts = [[10, 0, 0, 90], [0, 10, 0, 90]]  # IoU of the pan: 1 and 0 by picture, 10/20 over the set
    assert segmentation_scores(counts)["iou"]["pan"] == 0.5
    counts = [[90, 0, 0, 10], [0, 10, 0, 90]]
    assert segmentation_scores(counts)["iou"]["pan"] == 0.9


@given(st.integers(0, 2**32 - 1))
def test_perfect_masks_score_one(seed: int) -> None:
    masks = np.random.default_rng(seed).integers(0, 2, (3, 5, 7))
    masks[0, 0, :2] = [0, 1]
    scores = segmentation_scores([pixel_counts(mask, mask * 255) for mask in masks])
    assert scores == {"miou": 1.0, "iou": {"background": 1.0, "pan": 1.0}, "dice": 1.0}


def test_undefined_is_none_and_left_out_of_the_mean() -> None:
    assert segmentation_scores([]) == {"miou": None, "iou": {"background": None, "pan": None}, "dice": None}
    assert segmentation_scores([[0, 0, 0, 50]]) == {"miou": 1.0, "iou": {"background": 1.0, "pan": None}, "dice": None}


@given(COUNTS, st.randoms())
def test_scores_are_fractions_and_ignore_the_order(counts, random) -> None:
    scores = segmentation_scores(counts)
    for value in (scores["miou"], scores["dice"], *scores["iou"].values()):
        assert value is None or 0.0 <= value <= 1.0
    shuffled = list(counts)
    random.shuffle(shuffled)
    assert segmentation_scores(shuffled) == scores
