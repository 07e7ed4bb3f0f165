import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from panvision.scoring.ranking import average_precision
from tests.scoring.coco import coco_average_precision, images, random_images, ranked_classes


def assert_equals_coco(drawn, weights) -> None:
    """Each subset scores as if it were alone."""
    found = np.array([average_precision(ranked, weights) for ranked in ranked_classes(drawn)])
    for number, members in enumerate(weights):
        subset = [image for image, member in zip(drawn, members, strict=True) if member]
        np.testing.assert_allclose(found[..., number], coco_average_precision(subset), rtol=0, atol=1e-9)


@settings(max_examples=40, deadline=None)
@given(images())
def test_average_precision_is_pycocotools(drawn):
    assert_equals_coco(drawn, np.ones((1, len(drawn)), np.int32))


@settings(max_examples=40, deadline=None)
@given(images(), st.data())
def test_average_precision_of_subsets_is_pycocotools(drawn, data):
    members = st.lists(st.integers(0, 1), min_size=len(drawn), max_size=len(drawn)).filter(any)
    assert_equals_coco(drawn, np.array(data.draw(st.lists(members, min_size=2, max_size=2)), np.int32))


@pytest.mark.parametrize("seed", range(3))
def test_average_precision_of_larger_sets(seed):
    drawn = random_images(seed, 40, noise=2 + 3 * seed)
    weights = np.random.default_rng(seed).integers(0, 2, (2, 40)).astype(np.int32)
    assert_equals_coco(drawn, np.concatenate([np.ones((1, 40), np.int32), weights]))
