"""One small broken input per code: each is found under its own code, and nothing crashes."""

import json
import os

import numpy as np
import pytest
from PIL import Image

from panvision.ingest.problems import CATALOGUE
from tests.ingest.raw_sets import (
    classification_set,
    coco,
    codes,
    detection_set,
    pack,
    picture,
    rotated,
    save,
    save_coco,
    save_mask,
    segmentation_set,
)


def change(root, edit):
    """Edit a detection set's annotations."""
    path = root / "_annotations.coco.json"
    document = json.loads(path.read_text())
    edit(document)
    path.write_text(json.dumps(document))


def box(root, value):
    change(root, lambda document: document["annotations"][1].update(bbox=value))


def stated_size(root, width, height):
    change(root, lambda document: document["images"][1].update(width=width, height=height))


def grey_mask(root):
    mask = Image.open(root / "masks" / "s1.png").resize((80, 60), Image.Resampling.BILINEAR)
    mask.resize((40, 30), Image.Resampling.BILINEAR).save(root / "masks" / "s1.png")


def wide_mask_of_a_rotated_image(root):
    save(root / "images" / "s1.png", **rotated(picture(1), 6))


SEGMENTATION = {
    "image_unreadable": lambda root: (root / "images" / "s1.png").write_bytes(b""),
    "exif_rotated": lambda root: save(root / "images" / "s1.png", **rotated(picture(1), 3)),
    "nested_folder": lambda root: (root / "images" / "more").mkdir(),
    "foreign_file": lambda root: (root / "images" / "clip.mp4").write_bytes(b"x"),
    "stem_twice": lambda root: save(root / "images" / "s1.jpg", 1),
    "mask_missing": lambda root: (root / "masks" / "s1.png").unlink(),
    "mask_twice": lambda root: save_mask(root / "masks" / "s1.bmp"),
    "mask_unreadable": lambda root: (root / "masks" / "s1.png").write_bytes(b"x"),
    "mask_size": lambda root: save_mask(root / "masks" / "s1.png", width=41),
    "mask_rotated": wide_mask_of_a_rotated_image,
    "mask_orphaned": lambda root: save_mask(root / "masks" / "other.png"),
    "mask_empty": lambda root: save_mask(root / "masks" / "s1.png", value=0),
    "mask_full": lambda root: save_mask(root / "masks" / "s1.png", pan=(0, 0, 40, 30)),
    "mask_not_binary": grey_mask,
}
DETECTION = {
    "annotations_missing": lambda root: (root / "_annotations.coco.json").rename(root / "labels.json"),
    "annotations_twice": lambda root: save_coco(root / "images" / "_annotations.coco.json", coco([], [])),
    "annotations_broken": lambda root: (root / "_annotations.coco.json").write_text("{"),
    "categories_conflict": lambda root: change(root, lambda d: d["categories"].append({"id": 1, "name": "pot"})),
    "class_unused": lambda root: change(root, lambda d: d["categories"].append({"id": 1, "name": "lid"})),
    "root_category_dropped": lambda root: change(
        root,
        lambda d: d["categories"].extend([{"id": 8, "name": "all"}, {"id": 9, "name": "x", "supercategory": "all"}]),
    ),
    "path_escapes": lambda root: change(root, lambda d: d["images"][1].update(file_name="../../d101.png")),
    "image_missing": lambda root: (root / "images" / "d101.png").unlink(),
    "image_listed_twice": lambda root: change(root, lambda d: d["images"].append({**d["images"][1], "id": 77})),
    "image_unlisted": lambda root: save(root / "images" / "new.png", 55),
    "image_size": lambda root: stated_size(root, 40, 40),
    "boxes_scaled": lambda root: stated_size(root, 80, 60),
    "boxes_rotated": lambda root: save(root / "images" / "d101.png", **rotated(picture(1), 8)),
    "annotation_broken": lambda root: change(root, lambda d: d["annotations"][1].pop("bbox")),
    "annotation_id_twice": lambda root: change(root, lambda d: d["annotations"][1].update(id=0)),
    "annotation_unknown_image": lambda root: change(root, lambda d: d["annotations"][1].update(image_id=77)),
    "annotation_unknown_category": lambda root: change(root, lambda d: d["annotations"][1].update(category_id=77)),
    "crowd_dropped": lambda root: change(root, lambda d: d["annotations"][1].update(iscrowd=1)),
    "box_not_finite": lambda root: box(root, [float("nan"), 0, 5, 5]),
    "box_negative": lambda root: box(root, [10, 10, -5, 5]),
    "box_zero_area": lambda root: box(root, [10, 10, 0, 5]),
    "box_outside": lambda root: box(root, [40, 10, 10, 5]),
    "box_clipped": lambda root: box(root, [35, 10, 10, 5]),
}
CLASSIFICATION = {
    "class_empty": lambda root: (root / "images" / "golden").mkdir(),
    "class_single_image": lambda root: save(root / "images" / "golden" / "a.png", 5),
    "image_without_class": lambda root: save(root / "images" / "a.png", 5),
    "layout_mixed": lambda root: save(root / "train" / "raw" / "a.png", 5),
}
# Codes that only show beside others, or that other files of these tests cover.
ALSO = {
    "mask_rotated": {"exif_rotated"},
    "boxes_rotated": {"exif_rotated"},
    "root_category_dropped": {"class_unused"},
    "categories_conflict": {"class_unused"},
    "path_escapes": {"image_unlisted"},
    "layout_mixed": {"class_single_image"},
    "mask_twice": set(),
    "image_missing": set(),
}
ELSEWHERE = {"image_too_large", "label_conflict", "split_leak", "class_absent", "name_unreadable"}


def test_every_code_is_covered():
    assert {*SEGMENTATION, *DETECTION, *CLASSIFICATION, *ELSEWHERE} == set(CATALOGUE)


def run(root, task, code, spoil):
    spoil(root / task)
    if code.startswith("annotations_"):
        # The whole set's labels are gone: prepare stops at once.
        with pytest.raises(ValueError, match=rf"(?s)nothing usable.*\[{code}\]"):
            pack(root, task)
        return
    result = pack(root, task)
    assert set(codes(result)) - ALSO.get(code, set()) == {code}
    found = next(found for found in result.problems if found.code == code)
    assert (found.severity, found.remedy) == CATALOGUE[code]
    assert found.reason and found.file


@pytest.mark.parametrize("code", SEGMENTATION)
def test_segmentation(tmp_path, code):
    segmentation_set(tmp_path, count=3)
    run(tmp_path, "segmentation", code, SEGMENTATION[code])


@pytest.mark.parametrize("code", DETECTION)
def test_detection(tmp_path, code):
    detection_set(tmp_path, count=3)
    run(tmp_path, "detection", code, DETECTION[code])


@pytest.mark.parametrize("code", CLASSIFICATION)
def test_classification(tmp_path, code):
    classification_set(tmp_path, count=3)
    run(tmp_path, "classification", code, CLASSIFICATION[code])


@pytest.mark.parametrize("task", ["segmentation", "detection"])
def test_image_too_large(tmp_path, task):
    (segmentation_set if task == "segmentation" else detection_set)(tmp_path, count=2)
    save(tmp_path / task / "images" / ("s1.png" if task == "segmentation" else "d101.png"), picture(1, 120, 90))
    assert "image_too_large" in codes(pack(tmp_path, task, max_pixels=5000))


def test_a_name_that_is_no_text(tmp_path):
    root = classification_set(tmp_path, count=2)
    name = os.fsdecode(b"caf\xe9.png")
    try:
        save(root / "images" / "raw" / "plain.png", 1).rename(root / "images" / "raw" / name)
    except OSError:
        pytest.skip("the file system takes UTF-8 names only")
    result = pack(tmp_path, "classification")
    assert [(found.code, found.file) for found in result.problems] == [("name_unreadable", "images/raw/caf\\udce9.png")]


@pytest.mark.parametrize("kind", ["box_zero_area", "box_outside"])
def test_boxes_without_area_can_be_refused(tmp_path, kind):
    detection_set(tmp_path, count=3)
    DETECTION[kind](tmp_path / "detection")
    dropped, refused = pack(tmp_path, "detection"), pack(tmp_path, "detection", zero_area_boxes="refuse")
    assert (dropped.images, refused.images) == (3, 2)
    assert [found.severity for found in (*dropped.problems, *refused.problems)] == ["warning", "error"]


@pytest.mark.parametrize(
    "document",
    [
        "[]",
        '{"images": 3}',
        "[" * 100_000,
        json.dumps({"images": [3], "categories": [None], "annotations": ["x"]}),
        json.dumps({**coco([("d100.png", 40, 30)], []), "annotations": None}),
    ],
)
def test_foreign_json_does_not_crash(tmp_path, document):
    root = detection_set(tmp_path, count=1)
    (root / "_annotations.coco.json").write_text(document)
    try:
        assert "annotations_broken" in codes(pack(tmp_path, "detection"))
    except ValueError as error:
        assert "[annotations_broken]" in str(error)


@pytest.mark.parametrize(
    "value", [[1, 2, 3], ["1", 2, 3, 4], [True, 0, 1, 1], [10**400, 0, 1, 1], [1e308, 0, 1e308, 1]]
)
def test_odd_boxes_do_not_crash(tmp_path, value):
    root = detection_set(tmp_path, count=3)
    box(root, value)
    assert codes(pack(tmp_path, "detection")) in (["box_not_finite"], ["box_outside"])


@pytest.mark.parametrize("name", ["/etc/passwd.png", "C:\\a.png", "a\0.png", "x" * 5000 + ".png", "..\\..\\a.png"])
def test_odd_file_names_do_not_crash(tmp_path, name):
    root = detection_set(tmp_path, count=3)
    change(root, lambda document: document["images"][1].update(file_name=name))
    assert set(codes(pack(tmp_path, "detection"))) <= {"path_escapes", "image_missing", "image_unlisted"}


def test_error_rows_do_not_shift_labels(tmp_path):
    """The second image is lost; the third keeps its own box."""
    root = detection_set(tmp_path, count=3)
    (root / "images" / "d101.png").write_bytes(b"")
    change(root, lambda document: document["annotations"][2].update(bbox=[7, 7, 7, 7]))
    pack(tmp_path, "detection")
    lines = (tmp_path / "prepared" / "detection" / "boxes.csv").read_text().splitlines()
    assert lines == ["row,x1,y1,x2,y2,label", "0,5.0,5.0,15.0,15.0,0", "1,7.0,7.0,14.0,14.0,0"]


def test_mask_share_is_stated(tmp_path):
    root = segmentation_set(tmp_path, count=1)
    mask = np.zeros((30, 40), np.uint8)
    mask[:15] = 255
    mask[15] = np.arange(40) + 100
    save(root / "masks" / "s0.png", Image.fromarray(mask))
    (found,) = pack(tmp_path, "segmentation").problems
    assert found.reason.startswith("3.3% of the pixels")
