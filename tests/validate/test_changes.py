import json
import shutil

import pytest

from panvision.core.files import write_rows
from panvision.core.tasks import DATASETS
from panvision.dataset.packed import PackedError, open_packed
from panvision.validate.changes import KINDS, Version, find_changes
from tests.prepare import raw_sets

SPLITS = ("test", "train", "val")


@pytest.fixture(scope="module")
def old(tmp_path_factory) -> Version:
    """Three packed datasets; their raw files are beside them."""
    root = tmp_path_factory.mktemp("old")
    raw_sets.all_sets(root)
    return version(root)


@pytest.fixture
def new(old, tmp_path):
    """A copy of the raw datasets, to change."""
    shutil.copytree(old.prepared.parent, tmp_path / "new", ignore=shutil.ignore_patterns("prepared", "splits.csv"))
    return tmp_path / "new"


def version(root, moved=(), **settings) -> Version:
    """Pack datasets; every third image is a test image, but for the pairs `moved` of file and split."""
    raw_sets.pack_all(root, **settings)
    rows = [
        (task, file, file, dict(moved).get(file, SPLITS[int("".join(filter(str.isdigit, file))) % 3]))
        for task in DATASETS
        for file in open_packed(root / "prepared" / task, task).files
    ]
    write_rows(root / "splits.csv", ("task", "file", "group", "split"), rows)
    return Version(root / "prepared", root / "splits.csv")


def told(found):
    return [(each.kind, f"{each.dataset}/{each.image.file}", each.reason) for each in found.changes]


def add(root):
    raw_sets.save(root / "classification/images/burnt/c9.png", 9)


def remove(root):
    (root / "classification/images/raw/c201.png").unlink()


def replace_content(root):
    raw_sets.save(root / "classification/images/raw/c201.png", 999)


def rename(root):
    (root / "classification/images/raw/c201.png").rename(root / "classification/images/raw/c321.png")


def relabel(root):
    (root / "classification/images/raw/c201.png").rename(root / "classification/images/burnt/c201.png")


def shift_mask(root):
    raw_sets.save_mask(root / "segmentation/masks/s1.png", pan=(11, 6, 31, 26))


def empty_mask(root):
    raw_sets.save_mask(root / "segmentation/masks/s1.png", value=0)


def shift_box(root):
    change_boxes(root, bbox=[6, 5, 10, 10])


def change_boxes(root, **changes):
    path = root / "detection/_annotations.coco.json"
    document = json.loads(path.read_text())
    document["annotations"][1].update(changes)
    path.write_text(json.dumps(document))


def remove_box(root):
    path = root / "detection/_annotations.coco.json"
    document = json.loads(path.read_text())
    del document["annotations"][1]
    path.write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (add, [("added", "classification/images/burnt/c9.png", "in test, burnt")]),
        (remove, [("removed", "classification/images/raw/c201.png", "was in test, raw")]),
        (replace_content, [("replaced", "classification/images/raw/c201.png", "has other content")]),
        (rename, [("renamed", "classification/images/raw/c321.png", "was images/raw/c201.png")]),
        (
            relabel,
            [
                ("relabelled", "classification/images/burnt/c201.png", "raw → burnt"),
                ("renamed", "classification/images/burnt/c201.png", "was images/raw/c201.png"),
            ],
        ),
        (shift_mask, [("relabelled", "segmentation/images/s1.png", "pan, drawn otherwise")]),
        (empty_mask, [("relabelled", "segmentation/images/s1.png", "pan → no pan")]),
        (shift_box, [("relabelled", "detection/images/d101.png", "1 pot, drawn otherwise")]),
        (remove_box, [("relabelled", "detection/images/d101.png", "1 pot → no objects")]),
        (lambda root: None, []),
    ],
)
def test_each_change_is_found_and_nothing_else(old, new, change, expected):
    change(new)
    assert told(find_changes(old, version(new))) == expected


def test_the_reverse_of_a_change_is_its_opposite(old, new):
    add(new)
    rename(new)
    later = version(new)
    there, back = find_changes(old, later), find_changes(later, old)
    assert [each.kind for each in there.changes] == ["added", "renamed"]
    assert [each.kind for each in back.changes] == ["removed", "renamed"]
    assert (there.joined, there.left) == (back.left, back.joined) == (1, 0)
    assert there.seen == 0  # no earlier version had the new image


def test_moves_and_the_test_split(old, new):
    files = {"images/raw/c201.png": "train", "images/s1.png": "test", "images/d102.png": "val"}
    found = find_changes(old, version(new, moved=files.items()))
    assert told(found) == [
        ("moved", "segmentation/images/s1.png", "train → test"),
        ("moved", "detection/images/d102.png", "test → val"),
        ("moved", "classification/images/raw/c201.png", "test → train"),
    ]
    assert (found.joined, found.left, found.relabelled, found.seen) == (1, 2, 0, 1) and not found.same_test
    text = " ".join(found.table("HEAD"))
    assert "moved test → train: 1" in text and "1 images joined, 2 left" in text and "1 of those that joined" in text


def test_copies_within_a_dataset_are_matched_one_to_one(old, new):
    raw = new / "classification/images/raw"
    shutil.copy(raw / "c201.png", raw / "c204.png")
    found = find_changes(version(new), old)
    assert told(found) == [("replaced", "classification/images/raw/c204.png", "has other content")]
    shutil.copy(raw / "c201.png", raw / "c300.png")
    assert told(find_changes(version(new), old))[0][:2] == ("removed", "classification/images/raw/c300.png")


def test_an_image_that_another_dataset_learned_from_was_seen(old, new):
    """A model of several tasks learned from all of them."""
    shutil.copy(new / "segmentation/images/s1.png", new / "classification/images/raw/c3.png")
    later = version(new)
    found = find_changes(old, later)
    assert (found.joined, found.seen) == (1, 1) and "1 of those that joined" in " ".join(found.table("HEAD"))
    supposed = find_changes(old._replace(supposed=True), later)
    assert supposed.seen is None and supposed.to_json()["test_split"]["seen"] is None
    text = " ".join(supposed.table("old"))
    assert "1 images joined" in text and "of those that joined" not in text and "The earlier split is supposed" in text


def test_relabelled_test_images_change_the_test_split(old, new):
    raw_sets.save_mask(new / "segmentation/masks/s0.png", value=0)
    found = find_changes(old, version(new))
    assert found.relabelled == 1 and not found.same_test
    record = found.to_json()
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert record["test_split"] == {"joined": 0, "left": 0, "relabelled": 1, "seen": 0}
    assert record["counts"]["segmentation"]["relabelled"] == record["classes"]["segmentation"]["pan"]["relabelled"] == 1


def test_masks_of_another_packed_size_are_compared_by_their_fraction(old, new):
    shift_mask(new)
    raw_sets.save_mask(new / "segmentation/masks/s2.png", value=0)
    found = find_changes(old, version(new, image_size=96))
    assert told(found) == [("relabelled", "segmentation/images/s2.png", "pan → no pan")]


def test_table_counts_by_dataset_and_class_in_eighty_columns(old, new):
    relabel(new)
    lines = find_changes(old, version(new)).table("x" * 100)
    assert max(map(len, lines)) == 80
    assert [line.split() for line in lines[1:7]] == [
        list(KINDS),
        ["segmentation", *"000000"],
        ["detection", *"000000"],
        ["classification", *"000110"],
        ["burnt", *"000110"],
        ["raw", *"000110"],
    ]
    assert find_changes(old, old).table("HEAD")[-1] == "test split: the same images and labels"


def test_a_damaged_version_is_named(old, tmp_path):
    shutil.copytree(old.prepared, tmp_path / "prepared")
    (tmp_path / "prepared/detection/index.csv").write_text("file,width,height\n")
    with pytest.raises(PackedError, match="detection"):
        find_changes(old, Version(tmp_path / "prepared", old.splits))
