import numpy as np
import pytest

from panvision.training.data.samples import Sample
from tests.training.data.packed_sets import SIDE
from tests.training.data.transforms.one import transformed

GREY = Sample(np.full((SIDE, SIDE, 3), 128, np.uint8))
EDGE = Sample(np.repeat(np.repeat(np.uint8([[0] * 16 + [200] * 16]), SIDE, 0)[..., None], 3, 2))


def test_noise_is_drawn_up_to_its_strength_for_each_channel():
    noisy = [transformed("noise", GREY, seed, noise=0.1).image.astype(float) for seed in range(200)]
    spread = np.array([each.std() for each in noisy]) / 255
    assert spread.min() < 0.01 and 0.09 < spread.max() < 0.105
    assert (noisy[0][..., 0] != noisy[0][..., 1]).any()


def test_blur_is_drawn_up_to_its_strength():
    """A blurred edge rises by 255 / (sigma * sqrt(2 pi)) of 255 a pixel at most."""
    slopes = np.array(
        [
            np.diff(transformed("blur", EDGE, seed, blur=2.0).image[SIDE // 2, :, 0].astype(float)).max()
            for seed in range(200)
        ]
    )
    assert slopes.max() == 200 and slopes.min() == pytest.approx(200 / (2.0 * np.sqrt(2 * np.pi)), rel=0.1)


def test_jpeg_quality_is_drawn_from_its_range():
    grey = np.random.default_rng(0).integers(0, 255, (SIDE, SIDE, 1), np.uint8)
    sample = Sample(np.repeat(grey, 3, axis=2))

    def losses(strength):
        found = [transformed("jpeg", sample, seed, jpeg=strength).image.astype(int) for seed in range(60)]
        return [float(np.abs(each - sample.image).mean()) for each in found]

    # Mean error of these pixels at quality 100, 90 and 10: 0.09, 3.0 and 40.9.
    weak, strong = losses(0.1), losses(0.9)
    assert min(weak) < 0.2 and 2.5 < max(weak) < 3.1
    assert min(strong) < 2.0 and 35 < max(strong) < 41
    assert max(losses(0.999)) > 41  # quality 1, not 0
