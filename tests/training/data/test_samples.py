from dataclasses import replace

import numpy as np
import pytest

from panvision.core.tasks import DATASETS
from panvision.dataset.packed import CROWD
from panvision.training.data.samples import load_sample
from tests.training.data.packed_sets import packed_sets

LABELS = {"segmentation": ["mask"], "detection": ["boxes", "labels"], "classification": ["class_label"]}


@pytest.mark.parametrize("dataset", DATASETS)
def test_load_sample_has_the_image_and_the_labels_of_its_dataset(dataset):
    packed = packed_sets()[dataset]
    sample = load_sample(packed, 3)
    assert type(sample.image) is np.ndarray and (sample.image == packed.images[3]).all()
    assert [name for name, value in vars(sample).items() if value is not None] == ["image", *LABELS[dataset]]


def test_load_sample_gives_boxes_in_packed_pixels():
    packed = packed_sets()["detection"]
    sample = load_sample(packed, 2)
    assert (sample.boxes == packed.boxes[2] / 2).all() and sample.boxes.dtype == np.float32
    assert (sample.labels == packed.labels[2]).all()


def test_load_sample_has_crowds_behind_the_boxes():
    packed = packed_sets()["detection"]
    crowds = [np.array([[2, 4, 60, 62]], np.float32)] * len(packed)
    packed = replace(packed, crowds=crowds, crowd_labels=[np.array([1])] * len(packed))
    sample = load_sample(packed, 2)
    assert sample.boxes.tolist() == [*(packed.boxes[2] / 2).tolist(), [1, 2, 30, 31]]
    assert sample.labels.tolist() == [*packed.labels[2], CROWD - 1] and sample.boxes.dtype == np.float32


def test_load_sample_gives_arrays_of_its_own():
    packed = packed_sets()["segmentation"]
    sample = load_sample(packed, 0)
    sample.image[:], sample.mask[:] = 7, 7
    assert (packed.images[0] != 7).any() and (packed.masks[0] != 7).all()
