import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from panvision.decoding.segmentation import mask_from_logits


@given(st.integers(1, 90), st.integers(1, 90))
def test_mask_has_the_size_of_the_image(width: int, height: int) -> None:
    mask = mask_from_logits(np.random.default_rng(width).normal(size=(32, 32)).astype(np.float32), width, height)
    assert mask.shape == (height, width)
    assert mask.dtype == np.uint8
    assert set(np.unique(mask)) <= {0, 255}


@pytest.mark.parametrize(("width", "height"), [(32, 32), (128, 64), (320, 240)])
def test_mask_keeps_the_position_of_an_edge(width: int, height: int) -> None:
    upper = np.full((32, 32), -4.0, dtype=np.float32)
    upper[:16] = 4.0
    expected = np.zeros((height, width), dtype=bool)
    expected[: height // 2] = True
    assert np.array_equal(mask_from_logits(upper, width, height) == 255, expected)
    right = np.full((32, 32), -4.0, dtype=np.float32)
    right[:, 8:] = 4.0
    expected = np.zeros((height, width), dtype=bool)
    expected[:, width // 4 :] = True
    assert np.array_equal(mask_from_logits(right, width, height) == 255, expected)


def test_mask_interpolates_logits() -> None:
    # The zero crossing between 1 and -3 is a quarter of a pixel after the first centre, not half-way.
    logits = np.tile(np.array([1.0, -3.0], dtype=np.float32), (2, 1))
    mask = mask_from_logits(logits, 32, 2)
    assert np.count_nonzero(mask[0]) == 12


def test_mask_of_logit_zero_is_background() -> None:
    assert not mask_from_logits(np.zeros((4, 4), dtype=np.float32), 8, 8).any()
