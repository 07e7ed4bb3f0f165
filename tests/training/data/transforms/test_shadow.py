import numpy as np

from panvision.training.data.samples import Sample
from tests.training.data.packed_sets import SIDE
from tests.training.data.transforms.one import transformed

GREY = Sample(np.full((SIDE, SIDE, 3), 200, np.uint8))


def test_shadow_darkens_parts_up_to_its_strength():
    shaded = np.stack([transformed("shadow", GREY, seed, shadow=0.4).image for seed in range(100)])
    # Two shadows may overlap.
    assert 200 * 0.6**2 - 1 <= shaded.min() < 200 * 0.65 and shaded.max() == 200
    fractions = (shaded < 200).all(axis=3).mean(axis=(1, 2))
    assert fractions.min() < 0.3 and fractions.max() > 0.4
    # Anywhere in the image: the upper half, too.
    assert (shaded[:, : SIDE // 2] < 200).any() and (shaded[:, SIDE // 2 :] < 200).any()
