"""Rules that every row of the table keeps."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from panvision.training.data.samples import Sample
from panvision.training.data.transforms import TRANSFORMS, make_transforms
from panvision.training.data.transforms.transform import GEOMETRY, IMAGE
from tests.training.data.packed_sets import ALL, SIDE, STILL, full_sample, paint
from tests.training.data.transforms.one import make_rng, red_box

SURE = ALL.model_copy(
    update=dict.fromkeys(("horizontal_flip", "vertical_flip", "erasing", "mosaic", "mixup"), 1.0)
    | dict.fromkeys(("crop", "noise", "jpeg", "shadow"), 0.4)
    | {"blur": 5.0}
)
MOVING = [name for name, build in TRANSFORMS.items() if build(SURE).moves == GEOMETRY]
# These add pixels that are not the sample's: separate tests check them.
ADDING = ("erasing", "mosaic", "mixup")
edge = st.integers(0, SIDE)


def test_switched_off_transforms_are_none():
    assert {name: build(STILL) for name, build in TRANSFORMS.items()} == dict.fromkeys(TRANSFORMS)
    assert len(make_transforms(SURE)) == len(TRANSFORMS)


@pytest.mark.parametrize("name", [name for name in MOVING if name not in ADDING])
@given(x=st.tuples(edge, edge).map(sorted), y=st.tuples(edge, edge).map(sorted), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=100, deadline=None)
def test_image_mask_and_box_move_together(name, x, y, seed):
    assume(x[1] - x[0] > 1 and y[1] - y[0] > 1)
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[y[0] : y[1], x[0] : x[1]] = 255
    boxes = np.array([[x[0], y[0], x[1], y[1]]], np.float64)
    moved = TRANSFORMS[name](SURE)(Sample(paint(mask), mask, boxes, np.array([3])), make_rng(seed), None)
    assert moved.mask.dtype == np.uint8
    # Image and mask are interpolated alike: red is 200 on the mask and 0 beside it.
    assert np.abs(moved.image[..., 0] / 200 - moved.mask / 255).max() <= 0.01
    (box,) = moved.boxes.clip(0, SIDE)
    if (moved.image[..., 0] > 100).any():
        assert np.abs(box - red_box(moved.image)).max() <= 1.0
    else:
        assert min(box[2] - box[0], box[3] - box[1]) < 1.0


@pytest.mark.parametrize("name", [name for name in TRANSFORMS if name not in MOVING])
@pytest.mark.parametrize("seed", range(5))
def test_transforms_of_the_image_leave_the_labels(name, seed):
    sample, transform = full_sample(seed), TRANSFORMS[name](SURE)
    changed = transform(sample, make_rng(seed), None)
    assert transform.moves == IMAGE
    assert (changed.image != sample.image).any() and changed.image.shape == sample.image.shape
    assert changed.boxes is sample.boxes and (changed.mask == sample.mask).all()


@pytest.mark.parametrize("name", TRANSFORMS)
def test_labels_that_a_sample_lacks_stay_none(name):
    sample = full_sample(0)
    changed = TRANSFORMS[name](SURE)(Sample(sample.image, class_label=4), make_rng(1), None)
    assert (changed.mask, changed.boxes, changed.labels, changed.class_label) == (None, None, None, 4)
