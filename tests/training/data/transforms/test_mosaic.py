from dataclasses import replace

import numpy as np
import pytest

from panvision.dataset.packed import CROWD, HALF_PAN
from panvision.training.data.samples import Sample
from tests.training.data.packed_sets import SIDE, full_sample
from tests.training.data.transforms.one import red_box, transformed


def blank():
    """Return a sample without an object."""
    sample = full_sample(0)
    blue = np.broadcast_to(np.uint8([0, 0, 100]), sample.image.shape)
    return replace(sample, image=blue, mask=0 * sample.mask, boxes=sample.boxes[:0], labels=sample.labels[:0])


def plain(value):
    """One grey; its box is the whole image and its label the grey."""
    image = np.full((SIDE, SIDE, 3), value, np.uint8)
    return Sample(image, boxes=np.array([[0.0, 0.0, SIDE, SIDE]]), labels=np.array([value]))


@pytest.mark.parametrize("seed", range(60))
def test_mosaic_moves_image_mask_and_box_together(seed):
    sample = full_sample(seed)
    found = transformed("mosaic", sample, seed, draw=blank, mosaic=1.0)
    red = found.image[..., 0] > 100
    assert found.image.shape == sample.image.shape
    assert (red != (found.mask >= HALF_PAN)).sum() <= 2 * SIDE
    if len(found.boxes):
        assert np.abs(found.boxes[0] - red_box(found.image)).max() <= 1.0 and found.labels.tolist() == [3]
    else:  # less than a tenth of it is shown
        assert red.sum() <= 0.15 * (sample.mask >= HALF_PAN).sum()


def test_mosaic_shows_four_images_that_meet_near_the_middle():
    centres, corners = [], set()
    for seed in range(100):
        others = iter([plain(40), plain(80), plain(120)])
        found = transformed("mosaic", plain(200), seed, draw=others.__next__, mosaic=1.0)
        greys, counts = np.unique(found.image[..., 0], return_counts=True)
        assert greys.tolist() == [40, 80, 120, 200] and next(others, None) is None
        # A box is a whole quadrant; it lacks where that shows less than a tenth of its image.
        for label, (left, top, right, bottom) in zip(found.labels, found.boxes.round().astype(int), strict=True):
            assert (found.image[top:bottom, left:right] == label).all()
            assert (right - left) * (bottom - top) == counts[greys == label]
        assert set(greys[counts >= SIDE**2 / 10].tolist()) <= set(found.labels.tolist())
        centres.append([int(np.argmax(line != line[0])) for line in (found.image[0, :, 0], found.image[:, 0, 0])])
        corners.add(int(found.image[0, 0, 0]))
    assert np.min(centres, axis=0).tolist() == [SIDE // 4] * 2
    assert np.max(centres, axis=0).tolist() == [3 * SIDE // 4] * 2
    assert corners == {40, 80, 120, 200}


def test_mosaic_zooms_from_half_to_the_whole():
    image = blank().image
    sample = Sample(image, boxes=np.array([[14.0, 14.0, 18.0, 18.0]]), labels=np.array([0]))
    boxless = Sample(image, boxes=np.zeros((0, 4)), labels=np.zeros(0, np.int64))
    found = [transformed("mosaic", sample, seed, draw=lambda: boxless, mosaic=1.0) for seed in range(300)]
    # The longer side: the other may be cut.
    zooms = np.concatenate([(each.boxes[:, 2:] - each.boxes[:, :2]).max(axis=1) for each in found]) / 4
    assert 0.45 < np.quantile(zooms, 0.05) < 0.65 and 0.9 < zooms.max() <= 1.05


def test_mosaic_happens_with_its_probability_and_to_boxes_alone():
    sample = plain(200)
    made = [transformed("mosaic", sample, seed, draw=lambda: plain(9), mosaic=0.3) is not sample for seed in range(400)]
    assert 80 < sum(made) < 160
    for other in (Sample(sample.image, full_sample(0).mask), Sample(sample.image, class_label=1)):
        assert transformed("mosaic", other, mosaic=1.0) is other


def test_mosaic_keeps_the_fractions_of_a_soft_mask():
    mask = np.tile(np.uint8([[0, 255]]), (SIDE, SIDE // 2))
    sample = replace(full_sample(0), mask=mask)
    found = transformed("mosaic", sample, 2, draw=lambda: sample, mosaic=1.0).mask
    assert ((found > 50) & (found < 200)).any()


def test_mosaic_keeps_every_part_of_a_crowd():
    """Objects need a visible tenth."""
    sample = replace(plain(7), boxes=np.array([[0.0, 0, SIDE, SIDE]] * 2), labels=np.array([3, CROWD]))
    thin = replace(sample, boxes=np.array([[0.0, 0, SIDE, 2]] * 2))
    for seed in range(40):
        found = transformed("mosaic", thin, seed, draw=lambda: sample, mosaic=1.0)
        shown = (found.boxes[:, 2:] - found.boxes[:, :2]).prod(axis=1) > 1
        assert (found.labels[shown] == CROWD).sum() >= (found.labels[shown] == 3).sum()
        assert (found.labels[shown] == CROWD).sum() >= 3
