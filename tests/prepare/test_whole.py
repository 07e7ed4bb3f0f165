"""Masks that are wrong in one way over a whole dataset."""

import numpy as np
import pytest
from PIL import Image

from tests.prepare.raw_sets import check, codes, load, save, save_mask, segmentation_set

PAN = np.zeros((30, 40), bool)
PAN[5:25, 10:30] = True
EDGE = PAN.copy()
EDGE[8:22, 13:27] = False


def masks(root, *arrays):
    folder = segmentation_set(root, count=len(arrays))
    for number, array in enumerate(arrays):
        save(folder / "masks" / f"s{number}.png", Image.fromarray(array.astype(np.uint8)))


def shares(root):
    return [one.facts.pan_fraction for one in load(root, "segmentation")[1]]


def test_255_beside_class_numbers_is_ignored(tmp_path):
    mask = np.where(EDGE, 255, PAN)
    masks(tmp_path, mask, mask, PAN * 0)
    assert codes(check(tmp_path, "segmentation")) == ["mask_empty", "mask_void"]
    assert shares(tmp_path) == pytest.approx([(PAN & ~EDGE).mean()] * 2 + [0], abs=1e-6)


def test_255_is_the_pan_where_no_mask_has_class_numbers(tmp_path):
    masks(tmp_path, PAN * 255, PAN * 255)
    assert check(tmp_path, "segmentation").problems == []


def test_masks_of_0_and_1_beside_masks_of_0_and_255(tmp_path):
    """Two exports of one label."""
    masks(tmp_path, PAN * 255, PAN * 1, PAN * 255)
    assert check(tmp_path, "segmentation").problems == []
    assert shares(tmp_path) == pytest.approx([PAN.mean()] * 3, abs=1e-6)


def test_255_with_two_meanings_is_an_error(tmp_path):
    masks(tmp_path, np.where(EDGE, 255, PAN), EDGE * 255)
    (found,) = check(tmp_path, "segmentation").problems
    assert found.code == "pan_unclear" and "255 is alone in masks/s1.png" in found.reason
    assert codes(check(tmp_path, "segmentation", pan_classes=(1,))) == ["mask_empty", "mask_void"]


@pytest.mark.parametrize("background", [2, 3])
def test_trimaps_are_an_error_that_shows_the_values(tmp_path, background):
    masks(tmp_path, *[np.where(PAN, 1, background)] * 3)
    (found,) = check(tmp_path, "segmentation").problems
    assert found.code == "pan_unclear" and f"1 (3 masks), {background} (3 masks)" in found.reason


def test_a_class_number_in_each_mask(tmp_path):
    """One class per mask: each mask by itself is binary."""
    masks(tmp_path, PAN * 1, PAN * 2, PAN * 1)
    (found,) = check(tmp_path, "segmentation").problems
    assert found.code == "pan_unclear" and "1 (2 masks), 2 (1 masks)" in found.reason


@pytest.mark.parametrize(
    ("values", "words"), [((255, 255), "marks the whole image; the values found but 0: 255"), ((0, 0), "marks nothing"),
                          ((0, 255), "marks all or nothing")]
)  # fmt: skip
def test_masks_without_a_shape(tmp_path, values, words):
    masks(tmp_path, *[np.full((30, 40), value) for value in values])
    (found,) = check(tmp_path, "segmentation").problems
    assert found.code == "masks_alike" and words in found.reason and found.file == "masks"


def test_two_brightnesses_in_every_mask_are_labels(tmp_path):
    mask = np.where(EDGE, 128, PAN * 255)
    masks(tmp_path, *[mask] * 3)
    assert "128 (3 masks)" in next(
        found.reason for found in check(tmp_path, "segmentation").problems if found.code == "pan_unclear"
    )


def test_an_edge_in_one_mask_is_not_a_label(tmp_path):
    masks(tmp_path, *[PAN * 255] * 4, np.where(EDGE, 128, PAN * 255))
    assert codes(check(tmp_path, "segmentation")) == ["mask_not_binary"]


def test_one_image_may_be_all_pan(tmp_path):
    segmentation_set(tmp_path, count=3)
    save_mask(tmp_path / "segmentation/masks/s1.png", pan=(0, 0, 40, 30))
    assert codes(check(tmp_path, "segmentation")) == ["mask_full"]
