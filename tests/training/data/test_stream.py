from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from panvision.core.tasks import TASKS
from panvision.training.data.settings import AugmentSettings
from panvision.training.data.stream import NO_OBJECT, TrainingStream, pad_boxes, stack_images, training_batches
from tests.training.data.packed_sets import SIDE, STILL, packed_sets, paint

COUNTS = (7, 5, 6)
ALL = AugmentSettings(vertical_flip=0.5, scale=0.3, translate=0.2)


def stream(augment=STILL, *, batch_size=3, seed=1, rows=None, part=(0, 1), **sets):
    if rows is None:
        rows = [np.arange(count) for count in COUNTS]
    return TrainingStream(
        packed_sets(COUNTS, **sets),
        dict(zip(TASKS, rows, strict=True)),
        augment,
        batch_size=batch_size,
        seed=seed,
        part=part,
    )


def rows_seen(batches, task):
    return np.concatenate([batch.rows[task] for batch in batches]).tolist()


def equal(one, two):
    """Whether two batches hold the same to the bit."""
    tensors = ("masks", "boxes", "labels", "states")
    return (
        all(torch.equal(one.images[task], two.images[task]) for task in TASKS)
        and all(torch.equal(getattr(one, name), getattr(two, name)) for name in tensors)
        and all((one.rows[task] == two.rows[task]).all() for task in TASKS)
    )


def test_shapes_and_types():
    batch = stream(ALL)[0]
    for task in TASKS:
        assert batch.images[task].shape == (3, 3, SIDE, SIDE) and batch.images[task].dtype == torch.uint8
        assert batch.rows[task].dtype == np.int64
    assert batch.masks.shape == (3, 1, SIDE, SIDE) and batch.masks.dtype == torch.uint8
    assert batch.boxes.shape == (3, 1, 4) and batch.boxes.dtype == torch.float32
    assert batch.labels.shape == (3, 1) and batch.labels.dtype == torch.int64
    assert batch.states.shape == (3,) and batch.states.dtype == torch.int64


def test_each_sample_comes_with_its_own_labels():
    sets = packed_sets(COUNTS)
    for step in range(6):
        batch = stream()[step]
        for place in range(3):
            for task in TASKS:
                picture = batch.images[task][place].permute(1, 2, 0).numpy()
                assert (picture == sets[task].images[batch.rows[task][place]]).all()
            shown = batch.images["segmentation"][place].permute(1, 2, 0).numpy()
            assert (shown == paint(batch.masks[place, 0].numpy())).all()
            row = batch.rows["detection"][place]
            # In packed pixels: half of the original's.
            assert batch.boxes[place].tolist() == (sets["detection"].boxes[row] / 2).tolist()
            assert batch.labels[place].tolist() == sets["detection"].labels[row].tolist()
            assert batch.states[place] == sets["classification"].states[batch.rows["classification"][place]]


@pytest.mark.parametrize(("task", "count"), list(zip(TASKS, COUNTS, strict=True)))
@pytest.mark.parametrize("batch_size", [1, 3, 10])
def test_each_row_comes_once_per_cycle_and_each_cycle_is_shuffled_anew(task, count, batch_size):
    source = stream(batch_size=batch_size)
    seen = rows_seen([source[step] for step in range(-(-8 * count // batch_size))], task)
    cycles = [tuple(seen[start : start + count]) for start in range(0, 8 * count, count)]
    assert all(sorted(cycle) == list(range(count)) for cycle in cycles)
    assert len(set(cycles)) > 5


def test_only_the_given_rows_come():
    rows = [np.array([1, 4]), np.array([0, 3]), np.array([2])]
    batches = [stream(rows=rows)[step] for step in range(4)]
    for task, allowed in zip(TASKS, rows, strict=True):
        assert Counter(rows_seen(batches, task)).keys() == set(allowed.tolist())


def test_tasks_of_one_size_are_shuffled_apart():
    rows = [np.arange(5)] * 3
    batches = [stream(rows=rows)[step] for step in range(5)]
    assert len({tuple(rows_seen(batches, task)) for task in TASKS}) == 3


def test_a_row_looks_different_in_the_next_cycle():
    source = stream(ALL, batch_size=5)
    looks = set()
    for step in range(4):
        batch = source[step]
        place = batch.rows["detection"].tolist().index(2)
        looks.add(batch.images["detection"][place].numpy().tobytes())
    assert len(looks) == 4


def test_seed_decides_order_and_looks():
    assert equal(stream(ALL, seed=5)[3], stream(ALL, seed=5)[3])
    one, two = stream(ALL, seed=5)[3], stream(ALL, seed=6)[3]
    assert not equal(one, two)
    single = [np.array([0])] * 3
    one, two = stream(ALL, seed=5, rows=single)[0], stream(ALL, seed=6, rows=single)[0]
    assert not torch.equal(one.images["detection"], two.images["detection"])


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_and_the_first_step_change_nothing(workers):
    source = stream(ALL)
    expected = [source[step] for step in range(8)]
    for start in (0, 5):
        batches = list(training_batches(source, start=start, stop=8, workers=workers, pin_memory=False))
        assert len(batches) == 8 - start
        assert all(equal(got, wanted) for got, wanted in zip(batches, expected[start:], strict=True))


@pytest.mark.parametrize("parts", [2, 3])
def test_shares_of_a_batch_are_its_samples_in_their_order_changed_alike(parts):
    whole = stream(ALL, batch_size=6)[3]
    shares = [stream(ALL, batch_size=6, part=(part, parts))[3] for part in range(parts)]
    for task in TASKS:
        assert torch.equal(torch.cat([share.images[task] for share in shares]), whole.images[task])
        assert rows_seen(shares, task) == whole.rows[task].tolist()
    for name in ("masks", "boxes", "labels", "states"):
        assert torch.equal(torch.cat([getattr(share, name) for share in shares]), getattr(whole, name))


def test_no_steps_are_no_batches():
    assert list(training_batches(stream(), start=4, stop=4, workers=0, pin_memory=False)) == []


def test_images_without_boxes_among_others():
    batch = stream(batch_size=5, boxless=(1, 3))[0]
    for place, row in enumerate(batch.rows["detection"]):
        unused = row in (1, 3)
        assert (batch.labels[place, 0] == NO_OBJECT) == unused
        assert (batch.boxes[place] == 0).all() == unused


def test_a_batch_without_any_box_keeps_one_unused_row():
    batch = stream(boxless=range(5))[0]
    assert batch.boxes.shape == (3, 1, 4) and (batch.boxes == 0).all()
    assert (batch.labels == NO_OBJECT).all()


def test_batch_moves_to_a_device_whole():
    batch = stream(ALL)[0]
    assert equal(batch.to(torch.device("cpu")), batch)
    moved = batch.to(torch.device("meta"))
    tensors = [*moved.images.values(), moved.masks, moved.boxes, moved.labels, moved.states]
    assert all(tensor.device.type == "meta" for tensor in tensors)


@given(counts=st.lists(st.integers(0, 7), min_size=1, max_size=6))
@settings(max_examples=60, deadline=None)
def test_padding_keeps_every_box_in_its_place(counts):
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


def test_stacked_images_lie_channels_last():
    images = [np.random.default_rng(seed).integers(0, 255, (8, 8, 3), dtype=np.uint8) for seed in range(2)]
    stacked = stack_images(images)
    assert stacked.shape == (2, 3, 8, 8) and stacked.is_contiguous(memory_format=torch.channels_last)
    assert (stacked[1, 2].numpy() == images[1][..., 2]).all()


@pytest.mark.parametrize(
    "tasks", [("segmentation",), ("detection",), ("classification",), ("classification", "detection")]
)
def test_a_tasks_samples_do_not_depend_on_the_tasks_beside_it(tasks):
    rows = {task: np.arange(count) for task, count in zip(TASKS, COUNTS, strict=True)}
    whole, some = (
        stream(ALL),
        TrainingStream(packed_sets(COUNTS), {task: rows[task] for task in tasks}, ALL, batch_size=3, seed=1),
    )
    for step in (0, 5):
        batch, part = whole[step], some[step]
        assert set(part.images) == set(part.rows) == set(tasks)
        for task in tasks:
            assert torch.equal(part.images[task], batch.images[task])
            assert (part.rows[task] == batch.rows[task]).all()
        labels = {"segmentation": ["masks"], "detection": ["boxes", "labels"], "classification": ["states"]}
        for task, names in labels.items():
            for name in names:
                own = getattr(part, name)
                assert torch.equal(own, getattr(batch, name)) if task in tasks else own.numel() == 0
    (moved,) = training_batches(some, start=5, stop=6, workers=0, pin_memory=False)
    assert set(moved.to(torch.device("meta")).images) == set(tasks)
