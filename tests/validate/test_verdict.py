import csv
import json

import pytest
from PIL import Image

from panvision.dataset.packed import PackedError, read_splits
from panvision.validate.settings import SplitSettings
from panvision.validate.splits.pins import read_pins
from panvision.validate.verdict import judge, write_verdict
from tests.prepare.raw_sets import (
    all_sets,
    classification_set,
    coco,
    detection_set,
    pack_all,
    picture,
    save,
    save_coco,
    save_mask,
    segmentation_set,
)


def verdict(root, pins=None, **settings):
    """Check and split, with shares met as closely as possible."""
    return judge(root / "prepared", SplitSettings(**{"method": "balanced", **settings}), pins or {})


def codes(found):
    return sorted(problem.code for problem in found.problems)


@pytest.fixture
def root(tmp_path):
    all_sets(tmp_path)
    return tmp_path


def test_outputs(root):
    save(root / "detection" / "images" / "unlisted.png", 77)
    pack_all(root)
    write_verdict(verdict(root), root / "splits.csv", root / "problems.csv", root / "metrics" / "data.json")
    with (root / "splits.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == ["task", "file", "group", "split"]
    assert [(row["task"], row["file"]) for row in rows] == sorted((row["task"], row["file"]) for row in rows)
    assert len(rows) == 6 + 6 + 12
    figures = json.loads((root / "metrics" / "data.json").read_text())
    assert set(figures) == {
        "segmentation",
        "detection",
        "classification",
        "problems",
        "cross_task_groups",
        "cross_task_images",
    }
    assert figures["problems"] == {"image_unlisted": 1} and figures["cross_task_groups"] == 0
    assert [figures[task]["problems"] for task in ("segmentation", "detection")] == [{}, {"image_unlisted": 1}]
    (line,) = csv.DictReader((root / "problems.csv").open())
    assert (line["code"], line["file"]) == ("image_unlisted", "detection/images/unlisted.png")
    for task in ("segmentation", "detection", "classification"):
        own = [row["split"] for row in rows if row["task"] == task]
        assert {split: own.count(split) for split in ("train", "val", "test")} == {
            split: figures[task][split] for split in ("train", "val", "test")
        }
        assert figures[task]["images"] == figures[task]["groups"] == len(own)
    assert {name: sum(counts.values()) for name, counts in figures["classification"]["classes"].items()} == {
        "burnt": 6,
        "raw": 6,
    }
    assert sum(figures["detection"]["classes"]["pot"].values()) == 6


def test_write_verdict_byte_identical_and_readable(root):
    pack_all(root)
    for name in ("one", "two"):
        write_verdict(verdict(root), *(root / name / file for file in ("splits.csv", "problems.csv", "data.json")))
    for file in ("splits.csv", "problems.csv", "data.json"):
        assert (root / "one" / file).read_bytes() == (root / "two" / file).read_bytes()
    files = [f"images/s{n}.png" for n in range(6)]
    splits = read_splits(root / "one" / "splits.csv", "segmentation", files)
    assert sum(len(rows) for rows in splits.values()) == 6 and min(len(rows) for rows in splits.values()) >= 1


def test_every_error_of_every_set_is_listed_at_once(root):
    (root / "segmentation" / "images" / "s0.png").write_bytes(b"")
    (root / "detection" / "images" / "d100.png").write_bytes(b"x")
    (root / "classification" / "images" / "raw" / "c200.png").write_bytes(b"x")
    pack_all(root)
    lines = verdict(root).refusal().splitlines()
    assert [line.split(": ")[1] for line in lines[:-1]] == [
        "segmentation/images/s0.png",
        "classification/images/raw/c200.png",
        "detection/images/d100.png",
    ]
    assert "is empty [image_empty]; copy the image again" in lines[0]
    assert lines[-1].startswith("3 errors in the raw data")


def test_a_long_list_is_cut(root):
    segmentation_set(root, count=70)
    for number in range(60):
        (root / "segmentation" / "images" / f"s{number}.png").write_bytes(b"")
    pack_all(root)
    lines = verdict(root).refusal().splitlines()
    assert len(lines) == 52 and lines[50].startswith("and 10 more; `panvision validate DATA_ROOT`")


def test_the_same_picture_in_two_classes(root):
    save(root / "classification" / "images" / "burnt" / "copy.png", picture(200), compress_level=0)
    pack_all(root)
    (found,) = verdict(root).errors
    assert (found.code, found.file) == ("label_conflict", "classification/images/burnt/copy.png")
    assert found.reason == "is the same image as classification/images/raw/c200.png"


def test_copies_over_sets_lie_on_one_side(tmp_path):
    """The same twelve photos in detection and, as JPEG and larger, in segmentation; one of them in classification."""
    names = [f"d{number}.png" for number in range(12)]
    for number, name in enumerate(names):
        save(tmp_path / "detection" / "images" / name, picture(number, 160, 120))
        copy = picture(number, 160, 120).resize((200, 150))
        save(tmp_path / "segmentation" / "images" / f"s{number}.jpg", copy, quality=80)
        save_mask(tmp_path / "segmentation" / "masks" / f"s{number}.png", width=200, height=150)
    save_coco(
        tmp_path / "detection" / "_annotations.coco.json",
        coco([(name, 160, 120) for name in names], [(n, 0, [5, 5, 9, 9]) for n in range(12)]),
    )
    classification_set(tmp_path)
    save(tmp_path / "classification" / "images" / "raw" / "copy.png", picture(3, 160, 120))
    pack_all(tmp_path)
    found = verdict(tmp_path)
    assert found.metrics()["cross_task_groups"] == 12 and found.metrics()["cross_task_images"] == 25
    sides = {}
    for entry, group, split in zip(found.entries, found.groups.names, found.assignment.splits, strict=True):
        assert sides.setdefault(group, split) == split, entry
    assert not [problem for problem in found.problems if problem.code == "split_leak"]


def test_table_fits_eighty_columns(root):
    for number in range(3):
        save(root / "classification" / "images" / ("a very long class name " * 4) / f"{number}.png", 900 + number)
    pack_all(root)
    table = verdict(root).table()
    assert max(map(len, table.splitlines())) <= 80
    assert "segmentation" in table and "groups that span datasets: 0, with 0 images" in table


def test_a_missing_set_is_named(root):
    with pytest.raises(PackedError, match=r"prepare\.py segmentation"):
        verdict(root)


def test_a_set_packed_before_an_update_is_named(root):
    pack_all(root)
    (root / "prepared" / "detection" / "problems.csv").unlink()
    with pytest.raises(PackedError, match=r"detection: incomplete .*prepare.py detection"):
        verdict(root)


def split_of(verdict):
    return {entry.name: split for entry, split in zip(verdict.entries, verdict.assignment.splits, strict=True)}


def test_adding_images_moves_no_old_one(tmp_path):
    segmentation_set(tmp_path, 40)
    detection_set(tmp_path, 40)
    classification_set(tmp_path, 30)
    pack_all(tmp_path)
    before = split_of(verdict(tmp_path, method="stable"))
    assert set(before.values()) == {"train", "val", "test"}
    # File names that come first, so that rows, groups' names and orders change.
    for number in range(25):
        save(tmp_path / "segmentation" / "images" / f"a{number}.png", 7000 + number)
        save_mask(tmp_path / "segmentation" / "masks" / f"a{number}.png")
        save(tmp_path / "classification" / "images" / "burnt" / f"a{number}.png", 7100 + number)
    pack_all(tmp_path)
    after = split_of(verdict(tmp_path, method="stable"))
    assert len(after) == len(before) + 50
    assert {name: after[name] for name in before} == before


def test_pinned_split_is_kept_and_copies_follow(root):
    pack_all(root)
    first = verdict(root)
    write_verdict(first, root / "splits.csv", root / "problems.csv", root / "data.json")
    before = split_of(first)
    copied = next(name for name, split in before.items() if split == "test" and name.startswith("segmentation"))
    image = Image.open(root / copied)
    for number in range(5):
        copy = image.crop((1, 1, 39 - number, 29))
        save(root / "classification" / "images" / "raw" / f"a{number}.png", copy)
    pack_all(root)
    second = verdict(root, read_pins(root / "splits.csv"), seed=1)
    after = split_of(second)
    assert {name: after[name] for name in before} == before
    group = dict(zip(after, second.groups.names, strict=True))
    linked = [name for name in after if name not in before and group[name] == group[copied]]
    assert linked and all(after[name] == "test" for name in linked)
    assert "group_moved" not in codes(second)
