import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from panvision.core.tasks import DATASETS
from panvision.training.data.batches import NO_OBJECT, labelled_batch, make_batch, pad_boxes
from panvision.training.data.samples import load_sample
from tests.training.data.packed_sets import SIDE, packed_sets

ROWS = np.array([3, 0, 1])


def whole_batch():
    sets = packed_sets()
    samples = {dataset: [load_sample(packed, row) for row in ROWS] for dataset, packed in sets.items()}
    return make_batch(samples, dict.fromkeys(sets, ROWS))


def tensors(batch):
    return [*batch.images.values(), *(each for labels in batch.labels.values() for each in labels.values())]


@pytest.mark.parametrize("dataset", DATASETS)
def test_labelled_batch_keeps_images_and_order(dataset):
    packed = packed_sets()[dataset]
    batch = labelled_batch(packed, ROWS)
    assert list(batch.images) == list(batch.labels) == list(batch.rows) == [dataset]
    assert (batch.rows[dataset] == ROWS).all()
    assert (batch.images[dataset].permute(0, 2, 3, 1).numpy() == packed.images[ROWS]).all()


def test_labelled_batch_has_the_labels_of_its_dataset():
    sets = packed_sets((4, 4, 4), boxless=(2,))
    (masks,) = labelled_batch(sets["segmentation"], ROWS).labels["segmentation"].values()
    assert masks.shape == (3, 1, SIDE, SIDE) and (masks[:, 0].numpy() == sets["segmentation"].masks[ROWS]).all()
    assert labelled_batch(sets["classification"], ROWS).labels["classification"]["classes"].tolist() == [1, 0, 1]
    found = labelled_batch(sets["detection"], np.array([1, 2])).labels["detection"]
    assert found["labels"].tolist() == [[0], [NO_OBJECT]]
    assert (found["boxes"][0].numpy() == sets["detection"].boxes[1] / 2).all() and (found["boxes"][1] == 0).all()


def test_batch_moves_to_a_device_whole():
    batch = whole_batch()
    moved = batch.to(torch.device("meta"))
    assert [each.shape for each in tensors(moved)] == [each.shape for each in tensors(batch)]
    assert all(each.device.type == "meta" for each in tensors(moved)) and moved.rows is batch.rows
    here = batch.to(torch.device("cpu"))
    assert all(torch.equal(one, two) for one, two in zip(tensors(here), tensors(batch), strict=True))


def test_batch_is_pinned_whole(monkeypatch):
    pinned = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: pinned.append(tensor) or tensor)
    batch = whole_batch()
    batch.pin_memory()
    assert [id(each) for each in pinned] == [id(each) for each in tensors(batch)]


def test_images_are_channels_last_in_memory():
    for images in whole_batch().images.values():
        assert images.shape == (3, 3, SIDE, SIDE) and images.is_contiguous(memory_format=torch.channels_last)


@given(counts=st.lists(st.integers(0, 7), min_size=1, max_size=6))
@settings(max_examples=60, deadline=None)
def test_padding_keeps_every_box_in_its_row(counts):
    chance = np.random.default_rng(sum(counts))
    boxes = [chance.random((count, 4), np.float32) for count in counts]
    labels = [chance.integers(0, 9, count) for count in counts]
    padded_boxes, padded_labels = pad_boxes(boxes, labels)
    assert padded_boxes.shape == (len(counts), max(1, *counts, 1), 4) and padded_boxes.dtype == torch.float32
    assert padded_labels.shape == padded_boxes.shape[:2] and padded_labels.dtype == torch.int64
    for number, count in enumerate(counts):
        assert (padded_boxes[number, :count].numpy() == boxes[number]).all()
        assert (padded_labels[number, :count].numpy() == labels[number]).all()
        assert (padded_boxes[number, count:] == 0).all() and (padded_labels[number, count:] == NO_OBJECT).all()
