from dataclasses import replace

import numpy as np

from panvision.training.data.samples import Sample
from tests.training.data.packed_sets import full_sample
from tests.training.data.transforms.one import transformed


def test_mixup_is_the_mean_of_two_images_with_the_boxes_of_both():
    one, two = full_sample(0), replace(full_sample(1), labels=np.array([5]))
    apart = (one.image != two.image).any(axis=2)
    weights = []
    for seed in range(50):
        found = transformed("mixup", one, seed, draw=lambda: two, mixup=1.0)
        first, second, mean = (each.image[apart][:, 0].astype(float) for each in (one, two, found))
        weight = ((mean - second) / (first - second)).mean()
        assert np.abs(found.image - (weight * one.image + (1 - weight) * two.image)).max() <= 2
        assert (found.boxes == np.concatenate([one.boxes, two.boxes])).all() and found.labels.tolist() == [3, 5]
        assert (found.mask == one.mask | two.mask).all()
        weights.append(weight)
    assert min(weights) > 0.3 and max(weights) < 0.7 and 0.03 < np.std(weights) < 0.09


def test_mixup_happens_with_its_probability_and_to_boxes_alone():
    sample, other = full_sample(0), full_sample(1)
    made = [transformed("mixup", sample, seed, draw=lambda: other, mixup=0.3) is not sample for seed in range(400)]
    assert 80 < sum(made) < 160
    for unboxed in (Sample(sample.image, sample.mask), Sample(sample.image, class_label=1)):
        assert transformed("mixup", unboxed, mixup=1.0) is unboxed
