import re

import numpy as np
import pytest

from panvision.core.files import write_json, write_rows
from panvision.inference import origin
from panvision.inference.origin import data_hash, is_among, pack_images, params_hash, unpack_images

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


def images_of(folder, rows, earlier=None) -> str | None:
    """Pack the images of rows (task, file, sha256, split), of the segmentation dataset alone."""
    for task in ("classification", "segmentation"):
        own = [(file, sha256) for name, file, sha256, _ in rows if name == task]
        write_rows(folder / "prepared" / task / "index.csv", ("file", "sha256"), own)
    splits = [(task, file, split) for task, file, _, split in rows]
    write_rows(folder / "splits.csv", ("task", "file", "split"), splits)
    return pack_images(folder / "prepared", folder / "splits.csv", ["segmentation"], earlier)


def test_training_images_are_those_of_training_and_validation(folder) -> None:
    hashes = [f"{number:02x}" * 32 for number in range(5)]
    rows = [
        ("segmentation", "b,1.png", hashes[0], "val"),
        ("segmentation", "a.png", hashes[1], "train"),
        ("segmentation", "test.png", hashes[2], "test"),
        ("classification", "a.png", hashes[3], "train"),
        ("segmentation", "copy.png", hashes[1], "train"),
    ]
    packed = images_of(folder, rows)
    assert packed == images_of(folder, rows[::-1])
    known = unpack_images(packed)
    assert [is_among(sha256, known) for sha256 in hashes] == [True, True, False, False, False] and len(known) == 2


def test_earlier_training_images_are_kept(folder, monkeypatch) -> None:
    hashes = [f"{number:02x}" * 32 for number in range(3)]
    rows = [("segmentation", f"{sha256[:2]}.png", sha256, "train") for sha256 in hashes]
    earlier = images_of(folder, rows[:2])
    packed = images_of(folder, rows[1:], earlier)
    assert packed == images_of(folder, rows)
    monkeypatch.setattr(origin, "MOST_IMAGES", 2)
    assert images_of(folder, rows[:2], earlier) == earlier and images_of(folder, rows[1:], earlier) is None


def test_too_many_training_images_are_not_packed(folder, monkeypatch) -> None:
    monkeypatch.setattr(origin, "MOST_IMAGES", 1)
    rows = [("segmentation", f"{number}.png", f"{number:02x}" * 32, "train") for number in range(2)]
    assert images_of(folder, rows[:1]) and images_of(folder, rows) is None


@pytest.mark.parametrize("text", ["AAAA", "no base64!", "ä"])
def test_other_texts_are_no_training_images(text) -> None:
    with pytest.raises(ValueError, match=r"base64|bytes|ASCII|padding"):
        unpack_images(text)
