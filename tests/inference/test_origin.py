import re

import numpy as np
import pytest

from panvision.core.files import write_json, write_rows
from panvision.inference.origin import data_hash, params_hash

METADATA = {
    "config": {"seed": 1, "train": {"phase1": {"lr": 0.1}}},
    "model": {"backbone": "resnet10"},
    "tasks": ["detection"],
    "image_size": 64,
}


@pytest.fixture
def folder(tmp_path):
    for task in ("classification", "segmentation"):
        write_rows(tmp_path / "prepared" / task / "index.csv", ("file", "sha256"), [("a.png", "00")])
        write_json(tmp_path / "prepared" / task / "classes.json", {"classes": ["a"]})
        np.save(tmp_path / "prepared" / task / "images.npy", np.zeros(3))
    np.save(tmp_path / "prepared/segmentation/coverage.npy", np.zeros(3))
    write_rows(tmp_path / "splits.csv", ("file", "split"), [("a.png", "test")])
    return tmp_path


def hashed(folder) -> str:
    return data_hash(folder / "prepared", folder / "splits.csv")


def test_params_hash() -> None:
    found = params_hash(METADATA)
    assert re.fullmatch("[0-9a-f]{64}", found)
    assert params_hash(dict(reversed(METADATA.items())) | {"epoch": 3, "det_class_names": ["lid"]}) == found
    others = [
        METADATA | {"config": {"seed": 2}},
        METADATA | {"model": {"backbone": "resnet50"}},
        METADATA | {"tasks": ["segmentation"]},
        METADATA | {"image_size": 96},
        {},
    ]
    assert len({found, *map(params_hash, others)}) == len(others) + 1


def test_data_are_the_same_wherever_they_lie(folder) -> None:
    found = hashed(folder)
    assert re.fullmatch("[0-9a-f]{64}", found)
    (folder / "moved").mkdir()
    for name in ("prepared", "splits.csv"):
        (folder / name).rename(folder / "moved" / name)
    assert hashed(folder / "moved") == found


@pytest.mark.parametrize(
    "change",
    [
        "prepared/segmentation/index.csv",
        "prepared/segmentation/coverage.npy",
        "prepared/classification/classes.json",
        "prepared/classification/boxes.csv",
        "splits.csv",
    ],
)
def test_data_hash_changes_with_the_data(folder, change) -> None:
    found = hashed(folder)
    with (folder / change).open("ab") as stream:
        stream.write(b"x")
    assert hashed(folder) != found


def test_the_same_file_of_another_task_is_other_data(folder) -> None:
    found = hashed(folder)
    (folder / "prepared/classification").rename(folder / "prepared/detection")
    assert hashed(folder) != found
