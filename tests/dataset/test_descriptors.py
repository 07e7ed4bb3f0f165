import numpy as np
import pytest
from PIL import Image

from panvision.dataset.descriptors import (
    SIDE,
    VARIANTS,
    LookStack,
    describe,
    describe_variants,
    is_plain,
    make_look,
    show,
    window,
)
from tests.prepare.raw_sets import picture


def look(image):
    return make_look(image)


@pytest.mark.parametrize("size", [(640, 480), (64, 64), (40, 30), (1, 1), (3000, 20), (517, 389)])
def test_a_look_is_a_small_grey_copy_of_any_picture(size):
    image = picture(3, 640, 480).resize(size)
    found = look(image)
    assert found.shape == (SIDE, SIDE) and found.dtype == np.uint8
    exact = np.asarray(image.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX), np.float64)
    assert np.abs(found - exact).mean() < 2.0


def test_descriptors_have_length_one_and_differ():
    looks = np.stack([look(picture(seed, 160, 120)) for seed in range(20)])
    vectors = describe(looks)
    assert vectors.shape == (20, 63) and np.linalg.norm(vectors, axis=1) == pytest.approx(1.0, abs=1e-4)
    likeness = vectors @ vectors.T - np.eye(20)
    assert likeness.max() < 0.8


def test_descriptors_ignore_brightness_and_contrast():
    image = look(picture(4, 160, 120)).astype(np.float64)
    dimmer = np.rint(image * 0.5 + 20).astype(np.uint8)
    one, two = describe(np.stack([image.astype(np.uint8), dimmer]))
    assert one @ two > 0.999


@pytest.mark.parametrize("number", range(len(VARIANTS)))
def test_describe_variants_equals_changed_images(number):
    """Crop, mirror, transpose and overexpose the image itself, and describe the result."""
    variant = VARIANTS[number]
    image = picture(number, 640, 640)
    pixels = np.asarray(image.convert("L"), np.float64)
    top, left, side = (round(value * 640) for value in (variant.top, variant.left, variant.side))
    pixels = pixels[top : top + side, left : left + side]
    pixels = pixels[:, ::-1] if variant.flip_x else pixels
    pixels = pixels[::-1] if variant.flip_y else pixels
    pixels = pixels.T if variant.transpose else pixels
    pixels = np.minimum(pixels * variant.gain, 255)
    changed = Image.fromarray(np.ascontiguousarray(pixels).astype(np.uint8))
    expected = describe(look(changed.convert("RGB"))[None])[0]
    assert describe_variants(look(image)[None])[0, number] @ expected > 0.995


@pytest.mark.parametrize("number", range(len(VARIANTS)))
def test_window_in_the_result_of_show(number):
    """A bright spot in the middle of the variant's window is in the middle of the window of what `show` returns."""
    variant = VARIANTS[number]
    top, left, side = (round(value * SIDE) for value in (variant.top, variant.left, variant.side))
    spot = np.zeros((SIDE, SIDE), np.uint8)
    spot[top + side // 4, left + side // 3] = 200
    row, column = np.argwhere(show(spot, variant) > 0)[0]
    top, left, side = window(variant)
    found = ((row + 0.5) / SIDE - top) / side, ((column + 0.5) / SIDE - left) / side
    expected = [1 / 4, 1 / 3]
    expected[1] = 1 - expected[1] if variant.flip_x else expected[1]
    expected[0] = 1 - expected[0] if variant.flip_y else expected[0]
    expected = expected[::-1] if variant.transpose else expected
    assert found == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize("level", [0, 128, 255])
def test_is_plain(level):
    noise = np.random.default_rng(level).integers(-2, 3, (60, 80, 3))
    plain = look(Image.fromarray(np.clip(level + noise, 0, 255).astype(np.uint8)))
    assert is_plain(np.stack([plain, look(picture(1))])).tolist() == [True, False]


def test_a_stack_takes_rows_of_any_part_in_any_order():
    parts = [np.full((count, SIDE, SIDE), number, np.uint8) for number, count in enumerate((3, 0, 2))]
    parts[2][1] = 9
    stack = LookStack(parts)
    assert len(stack) == 5
    assert stack.take(np.array([4, 0, 3, 0]))[:, 0, 0].tolist() == [9, 0, 2, 0]
    assert stack.take(np.array([], np.int64)).shape == (0, SIDE, SIDE)
