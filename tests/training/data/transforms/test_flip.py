import numpy as np
import pytest

from tests.training.data.packed_sets import SIDE, full_sample
from tests.training.data.transforms.one import transformed


@pytest.mark.parametrize("seed", range(4))
def test_horizontal_flip_mirrors_left_to_right(seed):
    sample = full_sample(seed)
    x1, y1, x2, y2 = sample.boxes[0]
    flipped = transformed("horizontal_flip", sample, horizontal_flip=1.0)
    assert (flipped.image == sample.image[:, ::-1]).all() and (flipped.mask == sample.mask[:, ::-1]).all()
    assert flipped.boxes.tolist() == [[SIDE - x2, y1, SIDE - x1, y2]]


@pytest.mark.parametrize("seed", range(4))
def test_vertical_flip_turns_upside_down(seed):
    sample = full_sample(seed)
    x1, y1, x2, y2 = sample.boxes[0]
    flipped = transformed("vertical_flip", sample, vertical_flip=1.0)
    assert (flipped.image == sample.image[::-1]).all() and (flipped.mask == sample.mask[::-1]).all()
    assert flipped.boxes.tolist() == [[x1, SIDE - y2, x2, SIDE - y1]]


@pytest.mark.parametrize("name", ["horizontal_flip", "vertical_flip"])
def test_flip_probability(name):
    sample = full_sample(0)
    flipped = [(transformed(name, sample, seed, **{name: 0.3}).image != sample.image).any() for seed in range(400)]
    assert 80 < np.sum(flipped) < 160
