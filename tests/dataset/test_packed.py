import subprocess
import sys

import numpy as np
import pytest

from panvision.dataset.packed import PackedError, open_packed, read_splits
from tests.prepare.raw_sets import classification_set, detection_set, pack, segmentation_set


@pytest.fixture
def folder(tmp_path):
    detection_set(tmp_path, count=3)
    pack(tmp_path, "detection")
    return tmp_path / "prepared" / "detection"


def test_missing_set_names_the_stage(tmp_path):
    with pytest.raises(PackedError, match=r"none.index.csv: missing; run `python stages/prepare.py detection`"):
        open_packed(tmp_path / "none", "detection")


@pytest.mark.parametrize("file", ["index.csv", "boxes.csv", "classes.json", "images.npy"])
def test_damaged_sets_are_refused(folder, file):
    path = folder / file
    path.write_bytes(path.read_bytes()[:-30] if file == "images.npy" else b"x\n1\n")
    with pytest.raises(PackedError, match=r"prepare\.py detection"):
        open_packed(folder, "detection")


@pytest.mark.parametrize("file", ["index.csv", "boxes.csv"])
def test_tables_that_end_within_a_line_are_refused(folder, file):
    path = folder / file
    *lines, last = path.read_text().splitlines()
    path.write_text("\n".join([*lines, last.split(",")[0]]))
    with pytest.raises(PackedError, match=rf"{file} ends within a line.*prepare\.py detection"):
        open_packed(folder, "detection")


@pytest.mark.parametrize("line", ["9,0,0,1,1,0", "0,0,0,1,1,5", "-1,0,0,1,1,0", "0,0,0,1,1,-1", "0,0,0,1,1,-4"])
def test_boxes_of_unknown_rows_or_classes_are_refused(folder, line):
    (folder / "boxes.csv").write_text(f"row,x1,y1,x2,y2,label\n{line}\n")
    with pytest.raises(PackedError, match="out of range"):
        open_packed(folder, "detection")


def test_index_and_arrays_of_different_length(folder):
    images = np.load(folder / "images.npy")
    np.save(folder / "images.npy", images[:2])
    with pytest.raises(PackedError, match="differ in length"):
        open_packed(folder, "detection")


def test_only_its_own_fields(tmp_path):
    segmentation_set(tmp_path, count=3)
    classification_set(tmp_path, count=3)
    pack(tmp_path, "segmentation")
    pack(tmp_path, "classification")
    seg = open_packed(tmp_path / "prepared" / "segmentation", "segmentation")
    cls = open_packed(tmp_path / "prepared" / "classification", "classification")
    assert (seg.boxes, seg.labels, seg.states) == (None, None, None)
    assert (cls.boxes, cls.labels, cls.masks, cls.mask_files) == (None, None, None, None)
    with pytest.raises(PackedError, match="segmentation has no boxes"):
        seg.packed_boxes(0)


def test_masks_of_an_earlier_version_are_not_taken_for_coverage(tmp_path):
    segmentation_set(tmp_path, count=3)
    pack(tmp_path, "segmentation")
    folder = tmp_path / "prepared" / "segmentation"
    (folder / "coverage.npy").rename(folder / "masks.npy")
    with pytest.raises(PackedError, match=r"coverage.npy: missing; run `python stages/prepare.py segmentation`"):
        open_packed(folder, "segmentation")


def splits_file(tmp_path, *rows):
    path = tmp_path / "splits.csv"
    path.write_text("task,file,group,split\n" + "".join(f"{row}\n" for row in rows))
    return path


def test_splits_by_row_number(tmp_path):
    path = splits_file(tmp_path, "detection,c,g,train", "detection,a,g,train", "detection,b,h,test", "other,z,g,val")
    splits = read_splits(path, "detection", ["a", "b", "c"])
    assert {split: rows.tolist() for split, rows in splits.items()} == {"train": [0, 2], "val": [], "test": [1]}
    assert splits["val"].dtype == np.int64


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["detection,a,g,train"], "1 detection images differ from the packed ones, for example b; run"),
        (["detection,a,g,train", "detection,b,g,test", "detection,c,g,test"], "for example c"),
        (["detection,a,g,train", "detection,b,g,dev"], "unknown split 'dev'"),
        (["detection,a,g,train", "detection,b"], "unknown split ''"),
    ],
)
def test_splits_of_other_images_are_refused(tmp_path, rows, message):
    with pytest.raises(PackedError, match=message):
        read_splits(splits_file(tmp_path, *rows), "detection", ["a", "b"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("task,file,group,split\ndetection,a,g,tra", r"damaged \(splits.csv ends within a line\); run `python"),
        ("task,file,group\ndetection,a,g\n", "splits.csv has no column 'split'"),
        ('task,file,group,split\n"detection,a,g,train\n', "damaged"),
        ("", "damaged"),
    ],
)
def test_read_splits_damaged(tmp_path, content, message):
    (tmp_path / "splits.csv").write_text(content)
    with pytest.raises(PackedError, match=message):
        read_splits(tmp_path / "splits.csv", "detection", ["a"])


def test_missing_splits_name_the_stage(tmp_path):
    with pytest.raises(PackedError, match=r"splits.csv: missing; run `python stages/validate.py`"):
        read_splits(tmp_path / "splits.csv", "detection", [])


def test_the_room_imports_without_torch_and_without_pandas():
    code = (
        "import sys; from panvision.dataset import packed; from panvision.photos import masks;"
        "from panvision.prepare import pack; from panvision.validate import verdict;"
        "sys.exit(str(sorted({'torch', 'pandas', 'cv2', 'scipy'} & set(sys.modules)) or ''))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""
