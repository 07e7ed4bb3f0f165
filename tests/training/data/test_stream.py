import hashlib
import pickle
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from panvision.core.tasks import DATASETS
from panvision.dataset.packed import PackedError, open_packed
from panvision.training.data import transforms
from panvision.training.data.batches import NO_OBJECT
from panvision.training.data.stream import TrainingStream, training_batches
from panvision.training.data.transforms.transform import GEOMETRY
from tests.training.data.packed_sets import ALL, SIDE, STILL, packed_sets, paint, write_sets

COUNTS = (7, 5, 6)
# Every transform: also those that draw other samples.
EVERY = ALL.model_copy(
    update=dict.fromkeys(("crop", "erasing", "blur", "noise", "jpeg", "shadow", "mosaic", "mixup"), 0.5)
)
FLIPS = STILL.model_copy(update={"horizontal_flip": 0.5, "vertical_flip": 0.5})


def stream(augment=STILL, *, batch_size=3, seed=1, rows=None, part=(0, 1), class_balance=0.0, **sets):
    if rows is None:
        rows = [np.arange(count) for count in COUNTS]
    return TrainingStream(
        packed_sets(COUNTS, **sets),
        dict(zip(DATASETS, rows, strict=True)),
        augment,
        batch_size=batch_size,
        seed=seed,
        class_balance=class_balance,
        part=part,
    )


def rows_seen(batches, task):
    return np.concatenate([batch.rows[task] for batch in batches]).tolist()


def equal(one, two):
    """True if two batches hold the same to the bit."""
    return one.images.keys() == two.images.keys() and all(equal_in(dataset, one, two) for dataset in one.images)


def equal_in(dataset, one, two):
    """True if two batches hold the same of one dataset to the bit."""
    labels = one.labels[dataset], two.labels[dataset]
    return (
        torch.equal(one.images[dataset], two.images[dataset])
        and labels[0].keys() == labels[1].keys()
        and all(torch.equal(labels[0][name], labels[1][name]) for name in labels[0])
        and np.array_equal(one.rows[dataset], two.rows[dataset])
    )


def test_shapes_and_types():
    batch = stream(ALL)[0]
    for dataset in DATASETS:
        assert batch.images[dataset].shape == (3, 3, SIDE, SIDE) and batch.images[dataset].dtype == torch.uint8
        assert batch.rows[dataset].dtype == np.int64
    found = {name: (tuple(each.shape), each.dtype) for own in batch.labels.values() for name, each in own.items()}
    assert found == {
        "masks": ((3, 1, SIDE, SIDE), torch.uint8),
        "boxes": ((3, 1, 4), torch.float32),
        "labels": ((3, 1), torch.int64),
        "classes": ((3,), torch.int64),
    }


def test_each_sample_comes_with_its_own_labels():
    sets = packed_sets(COUNTS)
    for step in range(6):
        batch = stream()[step]
        masks, detection = batch.labels["segmentation"]["masks"], batch.labels["detection"]
        for place in range(3):
            shown = {name: images[place].permute(1, 2, 0).numpy() for name, images in batch.images.items()}
            rows = {name: own[place] for name, own in batch.rows.items()}
            assert all((shown[name] == sets[name].images[rows[name]]).all() for name in DATASETS)
            assert (shown["segmentation"] == paint(masks[place, 0].numpy())).all()
            # In packed pixels: half of the original's.
            assert detection["boxes"][place].tolist() == (sets["detection"].boxes[rows["detection"]] / 2).tolist()
            assert detection["labels"][place].tolist() == sets["detection"].labels[rows["detection"]].tolist()
            classes = batch.labels["classification"]["classes"]
            assert classes[place] == sets["classification"].states[rows["classification"]]


@pytest.mark.parametrize(("task", "count"), list(zip(DATASETS, COUNTS, strict=True)))
@pytest.mark.parametrize("batch_size", [1, 3, 10])
def test_each_row_comes_once_per_cycle_and_cycles_differ(task, count, batch_size):
    source = stream(batch_size=batch_size)
    seen = rows_seen([source[step] for step in range(-(-8 * count // batch_size))], task)
    cycles = [tuple(seen[start : start + count]) for start in range(0, 8 * count, count)]
    assert all(sorted(cycle) == list(range(count)) for cycle in cycles)
    assert len(set(cycles)) > 5


def test_only_the_given_rows_come():
    rows = [np.array([1, 4]), np.array([0, 3]), np.array([2])]
    batches = [stream(rows=rows)[step] for step in range(4)]
    for task, allowed in zip(DATASETS, rows, strict=True):
        assert Counter(rows_seen(batches, task)).keys() == set(allowed.tolist())


UNEVEN = [np.arange(7), np.arange(5), np.array([0, 1, 2, 4])]  # states 0, 1, 0, 0


def test_balanced_classes_come_equally_often_in_new_orders():
    source = stream(rows=UNEVEN, class_balance=1.0, batch_size=4)
    batches = [source[step] for step in range(12)]
    cycles = [batch.labels["classification"]["classes"].tolist() for batch in batches]
    assert all(sum(states) == 2 for states in cycles) and len(set(map(tuple, cycles))) > 3
    seen = Counter(rows_seen(batches, "classification"))
    assert seen == {1: 24, 0: 8, 2: 8, 4: 8}
    for batch, plain in zip(batches, map(stream(rows=UNEVEN, batch_size=4).__getitem__, range(12)), strict=True):
        assert equal_in("segmentation", batch, plain) and equal_in("detection", batch, plain)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.process
def test_balanced_batches_ignore_workers_start_and_shard(workers):
    source = stream(ALL, rows=UNEVEN, class_balance=0.5, batch_size=4)
    expected = [source[step] for step in range(9)]
    other = stream(ALL, rows=UNEVEN, class_balance=0.5, batch_size=4)
    got = list(training_batches(other, start=5, stop=9, workers=workers, pin_memory=False))
    assert all(equal(one, two) for one, two in zip(got, expected[5:], strict=True))
    halves = [stream(ALL, rows=UNEVEN, class_balance=0.5, batch_size=4, part=(part, 2))[7] for part in range(2)]
    assert rows_seen(halves, "classification") == expected[7].rows["classification"].tolist()


def test_datasets_of_one_size_have_orders_of_their_own():
    rows = [np.arange(5)] * 3
    batches = [stream(rows=rows)[step] for step in range(5)]
    assert len({tuple(rows_seen(batches, task)) for task in DATASETS}) == 3


def test_batches_are_those_of_earlier_versions():
    """Rows, flips and boxes: what no library computes with floating point."""
    flipped, digest = stream(FLIPS, batch_size=4), hashlib.sha256()
    for step in range(8):
        batch = flipped[step]
        for dataset in DATASETS:
            digest.update(batch.images[dataset].numpy().tobytes() + batch.rows[dataset].tobytes())
        digest.update(batch.labels["detection"]["boxes"].numpy().tobytes())
    assert digest.hexdigest() == "62fa7cc7ba39e094798457a38d40047dd36ba46fb01f1d99e35c1b76dfb79fcc"


def test_settings_of_one_dataset_change_no_other():
    each = {"segmentation": 0.4, "detection": 0.0, "classification": 0.4}
    own = stream(STILL.model_copy(update={"translate": each}))
    same = stream(STILL.model_copy(update={"translate": 0.4}))
    for step in range(4):
        assert equal_in("segmentation", own[step], same[step])
        assert equal_in("detection", own[step], stream(STILL)[step])
        assert not equal_in("classification", own[step], stream(STILL)[step])


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
@pytest.mark.process
def test_workers_and_the_first_step_change_nothing(workers):
    source = stream(EVERY)
    expected = [source[step] for step in range(8)]
    for start in (0, 5):
        batches = list(training_batches(source, start=start, stop=8, workers=workers, pin_memory=False))
        assert len(batches) == 8 - start
        assert all(equal(got, wanted) for got, wanted in zip(batches, expected[start:], strict=True))


def padded_like(labels, whole, name):
    """Labels with as many unused rows as a batch with more boxes has."""
    if name not in ("boxes", "labels"):
        return labels
    padded = whole.new_full((len(labels), *whole.shape[1:]), 0 if name == "boxes" else NO_OBJECT)
    padded[:, : labels.shape[1]] = labels
    return padded


@pytest.mark.parametrize("parts", [2, 3])
def test_shards_of_a_batch_are_its_samples_in_order(parts):
    whole = stream(EVERY, batch_size=6)[3]
    shares = [stream(EVERY, batch_size=6, part=(part, parts))[3] for part in range(parts)]
    for task in DATASETS:
        assert torch.equal(torch.cat([share.images[task] for share in shares]), whole.images[task])
        assert rows_seen(shares, task) == whole.rows[task].tolist()
        for name, own in whole.labels[task].items():
            parts_of_it = [padded_like(share.labels[task][name], own, name) for share in shares]
            assert torch.equal(torch.cat(parts_of_it), own)


def test_no_steps_are_no_batches():
    assert list(training_batches(stream(), start=4, stop=4, workers=0, pin_memory=False)) == []


def test_images_without_boxes_among_others():
    batch = stream(batch_size=5, boxless=(1, 3))[0]
    for boxes, labels, row in zip(*batch.labels["detection"].values(), batch.rows["detection"], strict=True):
        unused = row in (1, 3)
        assert (labels[0] == NO_OBJECT) == unused
        assert (boxes == 0).all() == unused


def test_a_batch_without_any_box_keeps_one_unused_row():
    boxes, labels = stream(boxless=range(5))[0].labels["detection"].values()
    assert boxes.shape == (3, 1, 4) and (boxes == 0).all()
    assert (labels == NO_OBJECT).all()


@pytest.mark.parametrize(
    "datasets", [("segmentation",), ("detection",), ("classification",), ("classification", "detection")]
)
def test_samples_of_a_dataset_do_not_depend_on_others(datasets):
    rows = {name: np.arange(count) for name, count in zip(DATASETS, COUNTS, strict=True) if name in datasets}
    some = TrainingStream(packed_sets(COUNTS), rows, ALL, batch_size=3, seed=1)
    for step in (0, 5):
        batch = some[step]
        assert set(batch.images) == set(batch.labels) == set(batch.rows) == set(datasets)
        assert all(equal_in(name, batch, stream(ALL)[step]) for name in datasets)


class Mean:
    """The average with two drawn samples, and the boxes of all three."""

    moves = GEOMETRY

    def __call__(self, sample, rng, draw):
        three = [sample, draw(), draw()]
        image = np.mean([each.image for each in three], axis=0).astype(np.uint8)
        if sample.boxes is None:
            return replace(sample, image=image)
        boxes, labels = (np.concatenate([getattr(each, name) for each in three]) for name in ("boxes", "labels"))
        return replace(sample, image=image, boxes=boxes, labels=labels)


@pytest.fixture
def mean(monkeypatch):
    monkeypatch.setitem(transforms.TRANSFORMS, "mean", lambda settings: Mean())


@pytest.mark.usefixtures("mean")
@pytest.mark.process
def test_drawn_samples_do_not_depend_on_workers_start_and_shard():
    source = stream(ALL, batch_size=4)
    expected = [source[step] for step in range(6)]
    got = list(training_batches(source, start=2, stop=6, workers=2, pin_memory=False))
    assert all(equal(one, two) for one, two in zip(got, expected[2:], strict=True))
    halves = [stream(ALL, batch_size=4, part=(part, 2))[3] for part in range(2)]
    assert torch.equal(torch.cat([half.images["detection"] for half in halves]), expected[3].images["detection"])
    alone = TrainingStream(packed_sets(COUNTS), {"detection": np.arange(COUNTS[1])}, ALL, batch_size=4, seed=1)
    assert equal_in("detection", alone[3], expected[3])


@pytest.mark.usefixtures("mean")
def test_drawn_samples_are_others_of_the_same_rows():
    rows = [np.array([1, 4, 5]), np.array([0, 3]), np.array([2])]
    sets, seen = packed_sets(COUNTS), set()
    for step in range(60):
        batch = stream(batch_size=1, rows=rows)[step]
        (row,) = batch.rows["detection"].tolist()
        # One other row: both drawn samples are that.
        boxes = batch.labels["detection"]["boxes"][0].numpy() * 2
        other = 3 - row
        assert (boxes == np.concatenate([sets["detection"].boxes[each] for each in (row, other, other)])).all()
        # A single row: it is drawn itself.
        assert (batch.images["classification"][0].permute(1, 2, 0).numpy() == sets["classification"].images[2]).all()
        seen.add((batch.rows["segmentation"][0], batch.images["segmentation"].numpy().tobytes()))
    # Each of three rows with two drawn of the two others, in any order: three averages.
    assert len(seen) == 9


@pytest.fixture
def stored(tmp_path):
    """The datasets opened from files."""
    write_sets(tmp_path, packed_sets(COUNTS))
    return {dataset: open_packed(tmp_path / dataset, dataset) for dataset in DATASETS}


def stored_stream(packed, rows=None):
    rows = rows or {dataset: np.arange(len(own)) for dataset, own in packed.items()}
    return TrainingStream(packed, rows, ALL, batch_size=3, seed=1)


@pytest.mark.process
def test_a_spawned_worker_gives_the_same_batches(stored):
    """A spawned worker opens the files itself, as on macOS and Windows."""
    source = stored_stream(stored)
    loader = DataLoader(source, batch_size=None, sampler=range(3), num_workers=1, multiprocessing_context="spawn")
    for step, batch in enumerate(loader):
        assert equal(batch, source[step])


def test_pickled_stream_is_small(stored, tmp_path):
    chance, count = np.random.default_rng(0), 100_000
    shape = (count, SIDE, SIDE, 3)
    images = np.lib.format.open_memmap(tmp_path / "large.npy", mode="w+", dtype=np.uint8, shape=shape)  # sparse
    large = {dataset: replace(own, images=images) for dataset, own in stored.items()}
    rows = {dataset: np.sort(chance.permutation(count)[:70_000]) for dataset in DATASETS}
    assert len(pickle.dumps(stored_stream(large, rows))) < 100_000


@pytest.mark.parametrize("rows", [[0], [4, 1, 3], [0, 1, 2, 3, 4]])
def test_pickled_stream_keeps_its_rows(stored, rows):
    given = dict.fromkeys(DATASETS, np.array(rows))
    copied = pickle.loads(pickle.dumps(stored_stream(stored, given)))  # noqa: S301 -- our own
    assert all(equal(copied[step], stored_stream(stored, given)[step]) for step in range(4))
    again = pickle.loads(pickle.dumps(copied))  # noqa: S301 -- our own
    assert equal(again[3], copied[3])


@pytest.mark.usefixtures("stored")
def test_pickled_stream_does_not_depend_on_the_working_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    source = stored_stream({dataset: open_packed(dataset, dataset) for dataset in DATASETS})
    pickled = pickle.dumps(source)
    monkeypatch.chdir("/")
    assert equal(pickle.loads(pickled)[1], source[1])  # noqa: S301 -- our own


def test_stream_in_memory_is_pickled_whole():
    copied = pickle.loads(pickle.dumps(stream(ALL)))  # noqa: S301 -- our own
    assert equal(copied[2], stream(ALL)[2])


def test_a_folder_gone_before_the_worker_opens_it(stored, tmp_path):
    copied = pickle.loads(pickle.dumps(stored_stream(stored)))  # noqa: S301 -- our own
    (tmp_path / "segmentation/index.csv").unlink()
    with pytest.raises(PackedError, match=r"index.csv: missing; run `python stages/prepare.py segmentation`"):
        copied[0]
