import numpy as np
import pytest

from panvision.core.files import write_json, write_rows
from panvision.core.tasks import TASKS
from panvision.dataset.packed import PackedError
from panvision.training.data.sets import labelled_batch, open_sets
from panvision.training.data.stream import NO_OBJECT
from tests.training.data.packed_sets import SIDE, packed_sets

SPLIT = ["train", "train", "val", "test"]


@pytest.fixture
def folder(tmp_path):
    """What prepare and validate leave behind, written by hand: four images a set."""
    sets, splits = packed_sets((4, 4, 4), boxless=(2,)), []
    for task, extra in zip(TASKS, ("mask", "boxes", "label"), strict=True):
        packed, out = sets[task], tmp_path / "prepared" / task
        label = {"mask": lambda row: f"m{row}.png", "boxes": lambda row: 1, "label": lambda row: "ab"[row % 2]}[extra]
        index = [(file, 2 * SIDE, 2 * SIDE, label(row), "") for row, file in enumerate(packed.files)]
        write_rows(out / "index.csv", ("file", "width", "height", extra, "drawn"), index)
        write_json(out / "classes.json", {"classes": packed.classes})
        np.save(out / "images.npy", packed.images)
        np.save(out / "looks.npy", packed.looks)
        if packed.masks is not None:
            np.save(out / "masks.npy", packed.masks)
        if packed.boxes is not None:
            lines = [(row, *box, 0) for row, boxes in enumerate(packed.boxes) for box in boxes.tolist()]
            write_rows(out / "boxes.csv", ("row", "x1", "y1", "x2", "y2", "label"), lines)
        splits += [(task, file, file, split) for file, split in zip(packed.files, SPLIT, strict=True)]
    write_rows(tmp_path / "splits.csv", ("task", "file", "group", "split"), splits)
    return tmp_path


def test_opened_sets_know_their_splits_classes_and_size(folder):
    sets = open_sets(folder / "prepared", folder / "splits.csv")
    assert sets.image_size == SIDE and sets.det_classes == ["a", "b"] and sets.cls_classes == ["a", "b"]
    assert {task: rows.tolist() for task, rows in sets.split("train").items()} == {task: [0, 1] for task in TASKS}
    assert sets.split("val")["detection"].tolist() == [2]


def test_a_labelled_batch_is_unchanged_in_order_and_has_its_labels(folder):
    sets = open_sets(folder / "prepared", folder / "splits.csv")
    rows = np.array([3, 0, 1])
    for task in TASKS:
        batch = labelled_batch(sets.packed[task], rows)
        assert list(batch.images) == list(batch.rows) == [task] and (batch.rows[task] == rows).all()
        assert (batch.images[task].permute(0, 2, 3, 1).numpy() == sets.packed[task].images[rows]).all()
        filled = {"segmentation": len(batch.masks), "detection": len(batch.boxes), "classification": len(batch.states)}
        assert {name: count for name, count in filled.items() if count} == {task: 3}
    batch = labelled_batch(sets.packed["segmentation"], rows)
    assert (
        batch.masks.shape == (3, 1, SIDE, SIDE)
        and (batch.masks[:, 0].numpy() == sets.packed["segmentation"].masks[rows]).all()
    )
    batch = labelled_batch(sets.packed["classification"], rows)
    assert batch.states.tolist() == [1, 0, 1]
    batch = labelled_batch(sets.packed["detection"], np.array([1, 2]))
    assert batch.labels.tolist() == [[0], [NO_OBJECT]]
    assert (batch.boxes[0].numpy() == sets.packed["detection"].boxes[1] / 2).all()


def test_sets_of_different_sizes_are_refused(folder):
    path = folder / "prepared/detection/images.npy"
    np.save(path, np.load(path)[:, :16, :16])
    with pytest.raises(PackedError, match=r"image sizes differ \(segmentation 32, detection 16, classification 32\)"):
        open_sets(folder / "prepared", folder / "splits.csv")


@pytest.mark.parametrize("split", ["train", "val"])
def test_an_empty_split_is_refused(folder, split):
    path = folder / "splits.csv"
    path.write_text("".join(
        line.replace(f",{split}", ",test") if line.startswith("classification") else line
        for line in path.read_text().splitlines(keepends=True)
    ))  # fmt: skip
    with pytest.raises(PackedError, match=f"no classification image is in {split}"):
        open_sets(folder / "prepared", path)
