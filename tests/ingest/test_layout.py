import pytest

from panvision.ingest.coco import read_detection
from panvision.ingest.folders import read_classification, read_segmentation
from panvision.ingest.layout import photo_name
from tests.ingest.raw_sets import coco, save, save_coco, save_mask


def found(reading):
    return [(sample.file, sample.split) for sample in reading.samples]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("pan_jpg.rf.0123abcd.jpg", ("pan_jpg", True)),
        ("a.rf.b_png.rf.77.png", ("a.rf.b_png", True)),
        ("0001.jpg", ("0001", False)),
        (".rf.abc.jpg", (".rf.abc", False)),
        ("no.suffix.at.all", ("no.suffix.at", False)),
    ],
)
def test_photo_name(name, expected):
    assert photo_name(name) == expected


def test_segmentation_in_split_folders_with_images_and_masks(tmp_path):
    for folder in ("train", "valid", "test"):
        save(tmp_path / folder / "images" / "a.jpg")
        save_mask(tmp_path / folder / "masks" / "a.png")
    reading = read_segmentation(tmp_path)
    assert reading.problems == []
    assert found(reading) == [
        ("test/images/a.jpg", "test"),
        ("train/images/a.jpg", "train"),
        ("valid/images/a.jpg", "val"),
    ]
    assert reading.samples[0].mask == "test/masks/a.png"


def test_segmentation_as_roboflow_exports_it(tmp_path):
    for folder in ("train", "val"):
        save(tmp_path / folder / "a_jpg.rf.12.jpg")
        save_mask(tmp_path / folder / "a_jpg.rf.12_mask.png", value=1)
        (tmp_path / folder / "_classes.csv").write_text("Pixel Value, Class\n0, background\n1, pan\n")
    (tmp_path / "README.roboflow.txt").write_text("")
    reading = read_segmentation(tmp_path)
    assert reading.problems == []
    assert found(reading) == [("train/a_jpg.rf.12.jpg", "train"), ("val/a_jpg.rf.12.jpg", "val")]
    assert reading.samples[1].mask == "val/a_jpg.rf.12_mask.png"


def test_roboflow_mask_names_in_a_masks_folder(tmp_path):
    save(tmp_path / "images" / "a.jpg")
    save_mask(tmp_path / "masks" / "a_mask.png")
    assert read_segmentation(tmp_path).samples[0].mask == "masks/a_mask.png"


@pytest.mark.parametrize("json_place", ["_annotations.coco.json", "images/_annotations.coco.json"])
def test_flat_detection_with_the_json_in_either_place(tmp_path, json_place):
    save(tmp_path / "images" / "a.jpg")
    save_coco(tmp_path / json_place, coco([("a.jpg", 40, 30)], []))
    reading = read_detection(tmp_path)
    assert found(reading) == [("images/a.jpg", "")] and reading.samples[0].boxes.xywh == ()


@pytest.mark.parametrize(
    ("image", "json_place"),
    [
        ("a.jpg", "_annotations.coco.json"),
        ("images/a.jpg", "_annotations.coco.json"),
        ("images/a.jpg", "images/_annotations.coco.json"),
    ],
)
def test_detection_in_split_folders(tmp_path, image, json_place):
    for folder in ("train", "valid", "test"):
        save(tmp_path / folder / image)
        save_coco(tmp_path / folder / json_place, coco([("a.jpg", 40, 30)], [(0, 0, [1, 2, 3, 4])]))
    reading = read_detection(tmp_path)
    assert reading.problems == [] and reading.classes == ["pot"]
    assert [split for _, split in found(reading)] == ["test", "train", "val"]
    assert {sample.boxes.xywh for sample in reading.samples} == {((1.0, 2.0, 3.0, 4.0),)}


def test_an_empty_split_folder_is_nothing(tmp_path):
    save(tmp_path / "train" / "a.jpg")
    save_coco(tmp_path / "train" / "_annotations.coco.json", coco([("a.jpg", 40, 30)], [(0, 0, [1, 2, 3, 4])]))
    (tmp_path / "test").mkdir()
    assert read_detection(tmp_path).problems == []


def test_file_names_with_folders_and_backslashes(tmp_path):
    save(tmp_path / "images" / "cam1" / "a.jpg")
    save(tmp_path / "images" / "b.jpg")
    document = coco([("cam1\\a.jpg", 40, 30), ("images/b.jpg", 40, 30)], [(0, 0, [1, 2, 3, 4])])
    save_coco(tmp_path / "_annotations.coco.json", document)
    reading = read_detection(tmp_path)
    assert reading.problems == []
    assert found(reading) == [("images/b.jpg", ""), ("images/cam1/a.jpg", "")]


@pytest.mark.parametrize("inner", ["", "images/"])
def test_classification_in_split_folders(tmp_path, inner):
    for folder in ("train", "valid", "test"):
        for name in ("raw", "burnt"):
            save(tmp_path / folder / f"{inner}{name}" / "a.jpg")
    reading = read_classification(tmp_path)
    assert reading.problems == [] and reading.classes == ["burnt", "raw"]
    assert found(reading)[0] == (f"test/{inner}burnt/a.jpg", "test")
    assert len(reading.samples) == 6


def test_ids_may_start_anywhere_and_classes_are_contiguous_by_id(tmp_path):
    save(tmp_path / "images" / "a.jpg")
    document = coco([("a.jpg", 40, 30)], [(0, 7, [1, 2, 3, 4]), (0, 3, [5, 5, 5, 5])])
    document["categories"] = [{"id": 7, "name": "aaa"}, {"id": 3, "name": "zzz"}]
    save_coco(tmp_path / "_annotations.coco.json", document)
    reading = read_detection(tmp_path)
    assert reading.classes == ["zzz", "aaa"] and reading.samples[0].boxes.labels == (1, 0)


ROOT = {"id": 0, "name": "kitchen", "supercategory": "none"}
CHILD = {"id": 1, "name": "pot", "supercategory": "kitchen"}


@pytest.mark.parametrize(
    ("categories", "used", "classes", "code"),
    [
        ([ROOT, CHILD], [1], ["pot"], "root_category_dropped"),
        # An annotation uses it: a class like any other.
        ([ROOT, CHILD], [0, 1], ["kitchen", "pot"], None),
        # Nobody names it as supercategory: a class without boxes, whatever its id.
        ([ROOT, {**CHILD, "supercategory": "none"}], [1], ["kitchen", "pot"], "class_unused"),
        # Only itself does.
        (
            [{**ROOT, "supercategory": "kitchen"}, {**CHILD, "supercategory": "x"}],
            [1],
            ["kitchen", "pot"],
            "class_unused",
        ),
    ],
)
def test_roboflows_root_category(tmp_path, categories, used, classes, code):
    save(tmp_path / "images" / "a.jpg")
    document = coco([("a.jpg", 40, 30)], [(0, category, [1, 2, 3, 4]) for category in used])
    document["categories"] = categories
    save_coco(tmp_path / "_annotations.coco.json", document)
    reading = read_detection(tmp_path)
    assert reading.classes == classes
    assert [problem.code for problem in reading.problems] == ([code] if code else [])
    assert set(reading.samples[0].boxes.labels) == {classes.index(categories[number]["name"]) for number in used}


def test_hidden_files_and_litter_are_passed_over(tmp_path):
    save(tmp_path / "images" / "raw" / "a.jpg")
    save(tmp_path / "images" / "raw" / "b.jpg")
    for name in (".DS_Store", "._a.jpg", "Thumbs.db"):
        (tmp_path / "images" / "raw" / name).write_bytes(b"x")
    (tmp_path / "images" / ".hidden").mkdir()
    reading = read_classification(tmp_path)
    assert reading.problems == [] and len(reading.samples) == 2
