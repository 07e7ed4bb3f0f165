import numpy as np
import pytest

from panvision.core.files import write_rows
from panvision.core.tasks import TASKS
from panvision.dataset.packed import PackedError
from panvision.training.data.sets import open_sets
from tests.training.data.packed_sets import SIDE, packed_sets, write_sets

SPLIT = ["train", "train", "val", "test"]


@pytest.fixture
def folder(tmp_path):
    """Outputs of prepare and validate, made by hand: four images per dataset."""
    sets = packed_sets((4, 4, 4), boxless=(2,))
    write_sets(tmp_path / "prepared", sets)
    splits = [(task, file, file, split) for task in TASKS for file, split in zip(sets[task].files, SPLIT, strict=True)]
    write_rows(tmp_path / "splits.csv", ("task", "file", "group", "split"), splits)
    return tmp_path


def test_opened_sets_know_their_splits_classes_and_size(folder):
    sets = open_sets(folder / "prepared", folder / "splits.csv")
    assert sets.image_size == SIDE and sets.det_classes == ["a", "b"] and sets.cls_classes == ["a", "b"]
    assert {task: rows.tolist() for task, rows in sets.split("train").items()} == {task: [0, 1] for task in TASKS}
    assert sets.split("val")["detection"].tolist() == [2]


def test_split_has_the_datasets_that_some_tasks_need(folder, monkeypatch):
    sets = open_sets(folder / "prepared", folder / "splits.csv")
    assert list(sets.split("train", ["detection", "segmentation"])) == ["segmentation", "detection"]
    # A second head may learn from the same dataset.
    monkeypatch.setitem(TASKS, "coverage", TASKS["segmentation"])
    assert list(sets.split("train", ["coverage"])) == ["segmentation"]


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
