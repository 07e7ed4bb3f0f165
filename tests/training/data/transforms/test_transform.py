import re
from dataclasses import replace

import albumentations as A  # noqa: N812 -- the library's own convention
import numpy as np
import pytest

from panvision.core.tasks import DATASETS
from panvision.training.data import transforms
from panvision.training.data.stream import TrainingStream
from panvision.training.data.transforms.transform import GEOMETRY, IMAGE, Wrapped
from panvision.training.guards import TrainingError
from tests.training.data.packed_sets import STILL, full_sample, packed_sets
from tests.training.data.transforms.one import make_rng


class Turn:
    """A quarter turn, written by hand."""

    def __init__(self, moves):
        self.moves = moves

    def __call__(self, sample, rng, draw):
        return replace(sample, image=np.rot90(sample.image))


class Silent:
    def __call__(self, sample, rng, draw):
        return sample


def build(monkeypatch, transform):
    monkeypatch.setitem(transforms.TRANSFORMS, "turn", lambda settings: transform)
    rows = {dataset: np.arange(2) for dataset in DATASETS}
    return TrainingStream(packed_sets(), rows, STILL, batch_size=2, seed=1)


@pytest.mark.parametrize(
    ("transform", "missing"),
    [
        (Turn(frozenset({"image", "mask"})), "boxes"),
        (Turn(frozenset({"image", "boxes"})), "mask"),
        (Wrapped(A.Rotate()), "boxes"),
        (Wrapped(A.GridDropout()), "boxes"),
        (Silent(), "boxes, image, mask"),
    ],
)
def test_a_transform_without_a_rule_is_refused(monkeypatch, transform, missing):
    message = f'transform turn: does not say how it moves {missing}; see docs/extending.md, "A transform"'
    with pytest.raises(TrainingError, match=f"^{re.escape(message)}$"):
        build(monkeypatch, transform)


@pytest.mark.parametrize("transform", [Turn(GEOMETRY), Turn(IMAGE), Wrapped(A.GaussNoise())])
def test_a_transform_with_a_rule_is_accepted(monkeypatch, transform):
    assert len(build(monkeypatch, transform)[0].images["detection"]) == 2


def test_wrapped_uses_the_given_generators_alone():
    """Noise is drawn from NumPy's generator, flips from Python's."""
    for transform in (Wrapped(A.GaussNoise(p=1.0)), Wrapped(A.HorizontalFlip(p=0.5), lambda boxes, applied: boxes)):
        first = [transform(full_sample(0), make_rng(seed), None).image.tobytes() for seed in range(10)]
        again = [transform(full_sample(0), make_rng(seed), None).image.tobytes() for seed in range(10)]
        assert first == again and len(set(first)) > 1


def test_wrapped_moves_boxes_only_when_it_was_applied():
    transform = Wrapped(A.HorizontalFlip(p=0.5), lambda boxes, applied: boxes + 1)
    sample = full_sample(0)
    for seed in range(20):
        changed = transform(sample, make_rng(seed), None)
        flipped = (changed.image != sample.image).any()
        assert (changed.boxes == sample.boxes + flipped).all()
