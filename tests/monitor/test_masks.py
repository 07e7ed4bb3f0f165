"""The smoothed mask of a rendered disc that moves over the image."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from panvision.monitor.masks import MaskSmoother

HEIGHT, WIDTH, RADIUS = 104, 620, 50
SECONDS = 6


def disc(centre):
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return (((columns - centre) ** 2 + (rows - HEIGHT / 2) ** 2) < RADIUS**2) * np.uint8(255)


@pytest.mark.parametrize("rate", [2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30])
@pytest.mark.parametrize("speed", [5, 20, 40, 80])
def test_a_moving_disc_keeps_its_width(rate, speed):
    """The disc would lose, with ties off, 20 px at 2 frames/s and 40 px/s, 4 px at 10 frames/s."""
    smoother = MaskSmoother(0.2)
    for number in range(SECONDS * rate):
        mask = disc(70 + speed * number / rate)
        shown = smoother.update(mask, number / rate)
        if number >= rate:
            widths = [np.count_nonzero(each[HEIGHT // 2]) for each in (shown, mask)]
            assert abs(widths[0] - widths[1]) <= 1
            assert set(np.unique(shown)) == {0, 255} and shown.dtype == np.uint8


@given(st.lists(st.booleans(), min_size=1, max_size=20), st.sampled_from([0.01, 0.05, 0.1, 0.2, 0.5, 3.0]))
def test_on_and_off_are_alike(states, step):
    """The smoothed mask of the inverse is the inverse of the smoothed mask."""
    one, other = MaskSmoother(0.2), MaskSmoother(0.2)
    for number, state in enumerate(states):
        mask = np.full((1, 1), 255 * state, np.uint8)
        assert one.update(mask, number * step) == 255 - other.update(255 - mask, number * step)


def test_half_life_0_changes_nothing():
    smoother = MaskSmoother(0.0)
    for number in range(3):
        mask = disc(70 + 30 * number)
        assert (smoother.update(mask, number) == mask).all()
