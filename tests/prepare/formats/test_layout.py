import inspect
import sys
from functools import partial
from pathlib import Path

import pytest

from panvision.dataset.paths import leaves_root, photo_name
from panvision.prepare.formats.folders import read_classification, read_segmentation
from panvision.prepare.formats.layout import list_images
from panvision.prepare.formats.readers import read_set
from tests.prepare.raw_sets import coco, save, save_coco, save_mask

read_detection = partial(read_set, "detection")


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


@pytest.mark.parametrize("mask", ["a.jpg.png", "a.png", "a_mask.png"])
@pytest.mark.parametrize("folders", ["images masks", "Images Masks", "JPEGImages SegmentationClass"])
def test_names_of_masks_and_of_their_folder(tmp_path, folders, mask):
    images, masks = folders.split()
    save(tmp_path / images / "a.jpg")
    save_mask(tmp_path / masks / mask)
    reading = read_set("segmentation", tmp_path)
    assert [(sample.file, sample.mask) for sample in reading.samples] == [(f"{images}/a.jpg", f"{masks}/{mask}")]
    assert reading.problems == []


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


def test_hidden_files_and_litter_are_reported_and_not_read(tmp_path):
    save(tmp_path / "images" / "raw" / "a.jpg")
    save(tmp_path / "images" / "raw" / "b.jpg")
    litter = [".DS_Store", "._a.jpg", "Thumbs.db", "desktop.ini"]
    for name in litter:
        (tmp_path / "images" / "raw" / name).write_bytes(b"x")
    for folder in (".hidden", "__MACOSX", "raw/.ipynb_checkpoints"):
        save(tmp_path / "images" / folder / "a.jpg")
    save(tmp_path / "__MACOSX" / "a.jpg")
    reading = read_classification(tmp_path)
    assert len(reading.samples) == 2 and reading.classes == ["raw"]
    assert {found.code for found in reading.problems} == {"hidden_file"}
    assert sorted(found.file for found in reading.problems) == sorted(
        ["__MACOSX", "images/.hidden", "images/__MACOSX", "images/raw/.ipynb_checkpoints"]
        + [f"images/raw/{name}" for name in litter]
    )


def test_what_git_and_dvc_keep_beside_images_is_silent(tmp_path):
    save(tmp_path / "images" / "raw" / "a.jpg")
    save(tmp_path / "images" / "raw" / "b.jpg")
    for name in (".gitignore", "images/.gitkeep", "images/raw/.gitattributes", "images/raw.dvc", ".dvcignore"):
        (tmp_path / name).write_text("")
    assert read_classification(tmp_path).problems == []


@pytest.mark.parametrize("inner", ["images", "JPEGImages"])
def test_litter_in_every_folder_of_a_split_layout(tmp_path, inner):
    save(tmp_path / "train" / inner / "a.jpg")
    save_mask(tmp_path / "train" / "masks" / "a.png")
    places = ["", "train/", f"train/{inner}/", "train/masks/"]
    for place in places:
        (tmp_path / f"{place}.DS_Store").write_bytes(b"x")
    reading = read_segmentation(tmp_path)
    assert sorted(found.file for found in reading.problems) == sorted(f"{place}.DS_Store" for place in places)


def test_voc_folders(tmp_path):
    save(tmp_path / "JPEGImages" / "a.jpg")
    save_mask(tmp_path / "SegmentationClass" / "a.png", value=1)
    save_mask(tmp_path / "SegmentationObject" / "a.png", value=1)
    (tmp_path / "labelmap.txt").write_text("")
    reading = read_segmentation(tmp_path)
    assert reading.problems == []
    assert [(sample.file, sample.mask) for sample in reading.samples] == [
        ("JPEGImages/a.jpg", "SegmentationClass/a.png")
    ]


@pytest.mark.parametrize("name", ["PHOTO.JPG", "b.JPeG", "c.PNG", "d.TIFF", "Gußeisen Ä.png", "鍋.jpg", "a b%20c.png"])
def test_upper_case_suffixes_and_unicode_names_are_fine(tmp_path, name):
    save(tmp_path / "images" / name)
    save_mask(tmp_path / "masks" / f"{Path(name).stem}.PNG")
    reading = read_segmentation(tmp_path)
    assert reading.problems == [] and found(reading) == [(f"images/{name}", "")]


COMPOSED, DECOMPOSED = "p\u00e4n", "pa\u0308n"


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("Pan.jpg", "pan.png"),
        ("pan.jpg", "PAN_mask.png"),
        (f"{COMPOSED}.jpg", f"{DECOMPOSED}.png"),
        (f"{DECOMPOSED}.jpg", f"{COMPOSED.upper()}.png"),
        ("straße.jpg", "STRASSE.png"),
    ],
)
def test_masks_whose_name_differs_in_case_or_unicode_form(tmp_path, image, mask):
    save(tmp_path / "images" / image)
    save_mask(tmp_path / "masks" / mask)
    reading = read_segmentation(tmp_path)
    assert [(sample.file, sample.mask) for sample in reading.samples] == [(f"images/{image}", f"masks/{mask}")]
    assert [(one.code, one.severity, one.file) for one in reading.problems] == [
        ("mask_name_differs", "fixed", f"masks/{mask}")
    ]


def test_an_equal_name_goes_before_one_that_differs(tmp_path):
    for name in ("pan", "PAN"):
        save(tmp_path / "images" / f"{name}.jpg")
        save_mask(tmp_path / "masks" / f"{name}.png")
    reading = read_segmentation(tmp_path)
    assert {sample.file: sample.mask for sample in reading.samples} == {
        "images/PAN.jpg": "masks/PAN.png",
        "images/pan.jpg": "masks/pan.png",
    }
    assert [(one.code, one.file) for one in reading.problems] == [
        ("names_clash", "images/pan.jpg"),
        ("names_clash", "masks/pan.png"),
    ]


def test_a_mask_that_two_images_could_mean_is_given_to_neither(tmp_path):
    for name in ("pan", "PAN"):
        save(tmp_path / "images" / f"{name}.jpg")
    save_mask(tmp_path / "masks" / "Pan.png")
    reading = read_segmentation(tmp_path)
    assert reading.samples == []
    assert sorted(one.code for one in reading.problems) == [
        "mask_missing",
        "mask_missing",
        "mask_orphaned",
        "names_clash",
    ]


def test_two_masks_whose_names_differ_from_one_image(tmp_path):
    save(tmp_path / "images" / "pan.jpg")
    save_mask(tmp_path / "masks" / "PAN.png")
    save_mask(tmp_path / "masks" / "Pan.bmp")
    reading = read_segmentation(tmp_path)
    assert reading.samples == [] and "mask_twice" in [one.code for one in reading.problems]


@pytest.mark.parametrize("other", ["Raw", "RAW"])
def test_class_names_that_clash_across_splits(tmp_path, other):
    for folder, name in (("train", "raw"), ("valid", other)):
        for number in range(2):
            save(tmp_path / folder / name / f"{number}.jpg")
    reading = read_classification(tmp_path)
    assert reading.classes == sorted([other, "raw"])
    assert [(one.code, one.file) for one in reading.problems] == [("names_clash", f"valid/{other}")]


@pytest.mark.parametrize("names", [("train", "valid", "test"), ("Training", "validation", "testing")])
def test_folders_of_splits_bear_any_of_their_usual_names(tmp_path, names):
    for name in names:
        for number in range(2):
            save(tmp_path / name / "raw" / f"{number}.jpg")
    reading = read_classification(tmp_path)
    assert {sample.file.split("/")[0]: sample.split for sample in reading.samples} == dict(
        zip(names, ("train", "val", "test"), strict=True)
    )
    assert reading.problems == []


def test_images_beside_split_folders_are_reported(tmp_path):
    save(tmp_path / "train" / "raw" / "a.jpg")
    save(tmp_path / "train" / "raw" / "b.jpg")
    save(tmp_path / "c.jpg")
    (tmp_path / "README.roboflow.txt").write_text("")
    assert [(one.code, one.file) for one in read_classification(tmp_path).problems] == [("layout_mixed", "c.jpg")]


def test_links_inside_the_set_are_files_like_others(tmp_path):
    save(tmp_path / "segmentation" / "originals" / "a.jpg")
    save_mask(tmp_path / "segmentation" / "masks" / "a.png")
    (tmp_path / "segmentation" / "images").mkdir()
    (tmp_path / "segmentation" / "images" / "a.jpg").symlink_to("../originals/a.jpg")
    # The task's folder itself may be a link to anywhere.
    (tmp_path / "link").symlink_to("segmentation", target_is_directory=True)
    for root in (tmp_path / "segmentation", tmp_path / "link"):
        reading = read_segmentation(root)
        assert reading.problems == [] and found(reading) == [("images/a.jpg", "")]


def test_links_into_the_cache_of_dvc_are_not_outside(tmp_path):
    root = tmp_path / "repo" / "segmentation"
    stored = save(tmp_path / "cache" / "files" / "md5" / "0a" / f"{'1b' * 15}.jpg")
    stored = stored.rename(stored.with_suffix(""))
    save_mask(root / "masks" / "a.png")
    (root / "images").mkdir()
    (root / "images" / "a.jpg").symlink_to(stored)
    reading = read_segmentation(root)
    assert reading.problems == [] and found(reading) == [("images/a.jpg", "")]


@pytest.mark.parametrize("folder", ["train", "train/images", "train/images/raw"])
def test_folders_that_are_links_out_of_the_set(tmp_path, folder):
    root = tmp_path / "classification"
    save(root / "valid" / "images" / "raw" / "a.jpg")
    save(root / "valid" / "images" / "raw" / "b.jpg")
    for number in range(2):
        save(root / "train" / "images" / "raw" / f"{number}.jpg")
    (root / folder).rename(tmp_path / "outside")
    (root / folder).symlink_to(tmp_path / "outside", target_is_directory=True)
    reading = read_classification(root)
    assert [(one.code, one.severity, one.file) for one in reading.problems] == [("link_escapes", "error", folder)]
    assert found(reading) == [("valid/images/raw/a.jpg", "val"), ("valid/images/raw/b.jpg", "val")]


@pytest.mark.parametrize(
    ("path", "outside"),
    [
        ("a.jpg", False),
        ("images/../a.jpg", False),
        ("../other/a.jpg", True),
        ("/etc/passwd", True),
        ("in", False),
        ("out", True),
        ("out/a.jpg", True),
        ("self", False),
        ("a\0b", False),
    ],
)
def test_leaves_root(tmp_path, path, outside):
    root = tmp_path / "set"
    (root / "images").mkdir(parents=True)
    (root / "in").symlink_to("images")
    (root / "out").symlink_to(tmp_path)
    (root / "self").symlink_to("self")
    assert leaves_root(root / path, root) is outside


def test_folders_deeper_than_pythons_stack(tmp_path):
    folder = tmp_path.joinpath(*["d"] * 200)
    save(folder / "a.jpg")
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 120)
    try:
        images, problems = list_images(tmp_path, tmp_path, nested=True)
    finally:
        sys.setrecursionlimit(limit)
    assert images == [folder / "a.jpg"] and problems == []
