import numpy as np
import pytest

from panvision.training.data.samples import Sample
from tests.training.data.packed_sets import full_sample
from tests.training.data.transforms.one import transformed

GREY = Sample(np.full((8, 8, 3), 100, np.uint8))


def test_brightness_is_drawn_from_its_range():
    means = [transformed("color", GREY, seed, brightness=0.2).image.mean() for seed in range(200)]
    assert 79 <= min(means) < 85 and 115 < max(means) <= 121


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation", "hue"])
def test_each_setting_changes_colours_alone(name):
    sample = full_sample(1)
    changed = transformed("color", sample, 2, **{name: 0.3})
    assert (changed.image != sample.image).any()
    assert (changed.mask == sample.mask).all() and changed.boxes is sample.boxes


@pytest.mark.parametrize("name", ["saturation", "hue"])
def test_grey_has_no_saturation_and_no_hue(name):
    assert (transformed("color", GREY, 2, **{name: 0.3}).image == 100).all()
