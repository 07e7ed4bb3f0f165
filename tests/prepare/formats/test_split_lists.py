"""The user's own splits as lists of images. Readers do not open images, so all files are empty."""

from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from panvision.prepare.formats.layout import Reading, Sample
from panvision.prepare.formats.readers import read_set
from panvision.prepare.formats.split_lists import follow_split_lists
from tests.prepare.raw_sets import codes, detection_set, pack

FILES = ("images/a.jpg", "images/b.jpg", "images/c c.jpg", "images/raw/1.png", "images/burnt/1.png", "d.e.jpg")


def followed(root, lists, files=FILES):
    """The split of each file by the lists, and the problems as `code file`."""
    for name, lines in lists.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(lines)
    reading = follow_split_lists(Reading([Sample(file, "", PurePosixPath(file).name) for file in files]), root)
    splits = {sample.file: sample.split for sample in reading.samples}
    return splits, [f"{one.code} {one.file}" for one in reading.problems]


@pytest.mark.parametrize(
    ("lists", "splits"),
    [
        (
            {"ImageSets/Main/train.txt": "a\nb", "ImageSets/Main/val.txt": "c c", "ImageSets/Main/test.txt": "d.e"},
            "ttvn!",
        ),
        ({"ImageSets/Segmentation/train.txt": "a  1\nb -1\nc c  1\n"}, "tttnn"),
        ({"train.txt": "data/obj_train_data/a.jpg\n/home/me/b.jpg", "valid.txt": r"C:\x\images\c c.jpg"}, "ttvnn"),
        ({"train.txt": "images/raw/1.png 0\nimages/burnt/1.png 1\n", "test.txt": "a.jpg"}, "!nntn"),
        (
            {"data/x.txt": "a", "data/y.txt": "b", "obj.data": "classes = 2\ntrain = data/x.txt\nvalid= data/y.txt"},
            "tvnnn",
        ),
        ({"mine.txt": "a", "yours.txt": "b", "data.yaml": "path: .\ntrain: mine.txt\nval: './yours.txt'"}, "tvnnn"),
        ({"autosplit_train.txt": "./images/a.jpg", "autosplit_val.txt": "./images/b.jpg"}, "tvnnn"),
        ({"ImageSets/Main/trainval.txt": "a\nb\nd.e", "ImageSets/Main/val.txt": "b"}, "tvnnt"),
        ({"train.txt": "\ufeff# mine\n\n'a.jpg'\n", "readme.txt": "a.jpg", "pot_train.txt": "b 1"}, "tnnnn"),
        ({"train.txt": "", "test.txt": "elsewhere.jpg"}, "nnnnn"),
        ({}, "nnnnn"),
    ],
)
def test_follow_split_lists(tmp_path, lists, splits):
    letters = {"t": "train", "v": "val", "!": "test", "n": ""}
    found, _ = followed(tmp_path, lists)
    shown = [file for file in FILES if file != "images/burnt/1.png"]
    assert [found[file] for file in shown] == [letters[letter] for letter in splits]


@pytest.mark.parametrize(
    ("lists", "problems"),
    [
        ({"train.txt": "a\nb\nc c\nd.e\nraw/1\nburnt/1"}, ["split_lists_read train.txt"]),
        ({"train.txt": "a", "test.txt": "gone\nb"}, ["unknown test.txt", "read train.txt", "incomplete train.txt"]),
        ({"train.txt": "1\na\n"}, ["unknown train.txt", "read train.txt", "incomplete train.txt"]),
        ({"test.txt": "a\nb", "train.txt": "b\nc c"}, ["read train.txt", "overlap train.txt", "incomplete train.txt"]),
        ({"valid.txt": "a\nb", "train.txt": "b\na"}, ["overlap valid.txt", "read train.txt", "incomplete train.txt"]),
        ({"ImageSets/Main/train.txt": "a", "ImageSets/Segmentation/train.txt": "a"}, ["read M", "incomplete M"]),
    ],
)
def test_follow_split_lists_problems(tmp_path, lists, problems):
    short = {"unknown": "split_list_unknown", "read": "split_lists_read", "overlap": "split_lists_overlap"}
    short["incomplete"] = "split_list_incomplete"
    expected = [code.split(" ") for code in problems]
    files = {"M": "ImageSets/Main/train.txt"}
    assert followed(tmp_path, lists)[1] == [f"{short.get(c, c)} {files.get(f, f)}" for c, f in expected]


def test_follow_split_lists_an_image_in_several_is_not_trained(tmp_path):
    splits, _ = followed(tmp_path, {"train.txt": "a\nb\nc c", "val.txt": "b\nc c", "test.txt": "c c\nd.e"})
    assert [splits[f"images/{name}.jpg"] for name in ("a", "b", "c c")] == ["train", "val", "test"]


def test_follow_split_lists_folders_have_precedence(tmp_path):
    (tmp_path / "train.txt").write_text("a")
    reading = Reading([Sample("valid/a.jpg", "val", "a.jpg")])
    assert follow_split_lists(reading, tmp_path) == reading


@given(st.text(), st.text())
def test_follow_split_lists_of_any_text(tmp_path_factory, text, settings):
    root = tmp_path_factory.mktemp("set")
    (root / "train.txt").write_bytes(text.encode("utf-8", "surrogatepass"))
    (root / "obj.data").write_bytes(settings.encode("utf-8", "surrogatepass"))
    followed(root, {})


def test_darknet_folders_are_splits(tmp_path):
    (tmp_path / "obj.names").write_text("pot\n")
    for split in ("train", "Validation", "test"):
        folder = tmp_path / f"obj_{split}_data"
        folder.mkdir()
        (folder / f"{split}.jpg").touch()
        (folder / f"{split}.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    reading = read_set("detection", tmp_path)
    assert {sample.name: sample.split for sample in reading.samples} == {
        "Validation.jpg": "val",
        "test.jpg": "test",
        "train.jpg": "train",
    }
    assert reading.problems == []


def test_prepare_writes_the_split_of_lists(tmp_path):
    detection_set(tmp_path, count=4)
    (tmp_path / "detection/test.txt").write_text("d101.png\n")
    result = pack(tmp_path, "detection")
    assert codes(result) == ["split_list_incomplete", "split_lists_read"]
    index = (tmp_path / "prepared/detection/index.csv").read_text().splitlines()
    column = index[0].split(",").index("split")
    assert [line.split(",")[column] for line in index[1:]] == ["", "test", "", ""]
