"""Layouts of files and folders. Readers do not open images, so all files are empty."""

import inspect
import sys

import pytest

from panvision.dataset.paths import leaves_root, photo_name
from panvision.prepare.formats.layout import list_images
from panvision.prepare.formats.readers import read_set
from tests.prepare.label_formats import write_json, write_text
from tests.prepare.raw_sets import coco, save, save_mask

COMPOSED, DECOMPOSED = "p\u00e4n", "pa\u0308n"


def tree(root, files):
    """Empty files, and folders where a path ends with a slash."""
    for file in files.split():
        path = root / file.replace("␣", " ")
        (path if file.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
        if not file.endswith("/"):
            path.touch()
    return root


def summary(reading):
    """Each sample as `file split label-or-mask`, and each problem but classes of one image as `code file`."""
    samples = [" ".join(filter(None, (one.file, one.split, one.label, one.mask))) for one in reading.samples]
    problems = [f"{one.code} {one.file}" for one in reading.problems if one.code != "class_single_image"]
    return samples, sorted(problems)


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


# Files; samples and problems, separated by bars. The images of one case are a.jpg and so on, or have odd names.
MASKS = {
    "split folders": (
        "train/images/a.jpg train/masks/a.png valid/images/a.jpg valid/masks/a.png",
        "train/images/a.jpg train train/masks/a.png | valid/images/a.jpg val valid/masks/a.png",
        "",
    ),
    "Roboflow": (
        "README.txt train/a_jpg.rf.1.jpg train/a_jpg.rf.1_mask.png train/_classes.csv val/b.jpg val/b_mask.png",
        "train/a_jpg.rf.1.jpg train train/a_jpg.rf.1_mask.png | val/b.jpg val val/b_mask.png",
        "",
    ),
    "VOC": (
        "JPEGImages/a.jpg SegmentationClass/a.png SegmentationObject/a.png labelmap.txt",
        "JPEGImages/a.jpg SegmentationClass/a.png",
        "",
    ),
    "capitals": ("Images/a.jpg Masks/a.png", "Images/a.jpg Masks/a.png", ""),
    "Supervisely's names": ("images/a.jpg masks/a.jpg.png", "images/a.jpg masks/a.jpg.png", ""),
    "Roboflow's names in masks/": ("images/a.jpg masks/a_mask.png", "images/a.jpg masks/a_mask.png", ""),
    "litter everywhere": (
        "train/images/a.jpg train/masks/a.png .DS_Store train/.DS_Store train/images/.DS_Store train/masks/.DS_Store",
        "train/images/a.jpg train train/masks/a.png",
        "hidden_file .DS_Store | hidden_file train/.DS_Store | hidden_file train/images/.DS_Store | "
        "hidden_file train/masks/.DS_Store",
    ),
    "equal names come first": (
        "images/pan.jpg images/PAN.jpg masks/pan.png masks/PAN.png",
        "images/PAN.jpg masks/PAN.png | images/pan.jpg masks/pan.png",
        "names_clash images/pan.jpg | names_clash masks/pan.png",
    ),
    "a mask of two images": (
        "images/pan.jpg images/PAN.jpg masks/Pan.png",
        "",
        "mask_missing images/PAN.jpg | mask_missing images/pan.jpg | mask_orphaned masks/Pan.png | "
        "names_clash images/pan.jpg",
    ),
    "two masks of an image": (
        "images/pan.jpg masks/PAN.png masks/Pan.bmp",
        "",
        "mask_name_differs masks/PAN.png | mask_name_differs masks/Pan.bmp | mask_twice images/pan.jpg",
    ),
}
for name in ("PHOTO.JPG", "b.JPeG", "c.PNG", "d.TIFF", "Gußeisen␣Ä.png", "鍋.jpg", "a␣b%20c.png"):
    pair = f"images/{name} masks/{name.rpartition('.')[0]}.PNG"
    MASKS[name] = (pair, pair, "")
for image, mask in (
    ("Pan.jpg", "pan.png"),
    ("pan.jpg", "PAN_mask.png"),
    (f"{COMPOSED}.jpg", f"{DECOMPOSED}.png"),
    (f"{DECOMPOSED}.jpg", f"{COMPOSED.upper()}.png"),
    ("straße.jpg", "STRASSE.png"),
):
    pair = f"images/{image} masks/{mask}"
    MASKS[pair] = (pair, pair, f"mask_name_differs masks/{mask}")
CLASSES = {
    "split folders": (
        "train/raw/a.jpg train/raw/b.jpg test/images/raw/a.jpg",
        "test/images/raw/a.jpg test raw | train/raw/a.jpg train raw | train/raw/b.jpg train raw",
        "",
    ),
    "other names of splits": (
        "Training/raw/a.jpg validation/raw/a.jpg testing/raw/a.jpg",
        "Training/raw/a.jpg train raw | testing/raw/a.jpg test raw | validation/raw/a.jpg val raw",
        "",
    ),
    "an image beside split folders": (
        "train/raw/a.jpg train/raw/b.jpg c.jpg README.roboflow.txt",
        "train/raw/a.jpg train raw | train/raw/b.jpg train raw",
        "layout_mixed c.jpg",
    ),
    "hidden files and litter": (
        "images/raw/a.jpg images/raw/b.jpg images/raw/.DS_Store images/raw/._a.jpg images/raw/Thumbs.db "
        "images/raw/.ipynb_checkpoints/a.jpg images/.hidden/a.jpg images/__MACOSX/a.jpg __MACOSX/a.jpg",
        "images/raw/a.jpg raw | images/raw/b.jpg raw",
        "hidden_file __MACOSX | hidden_file images/.hidden | hidden_file images/__MACOSX | "
        "hidden_file images/raw/.DS_Store | hidden_file images/raw/._a.jpg | "
        "hidden_file images/raw/.ipynb_checkpoints | hidden_file images/raw/Thumbs.db",
    ),
    "files of git and DVC": (
        "images/raw/a.jpg images/raw/b.jpg .gitignore images/.gitkeep images/raw/.gitattributes images/raw.dvc",
        "images/raw/a.jpg raw | images/raw/b.jpg raw",
        "",
    ),
    "class names that clash across splits": (
        "train/raw/a.jpg train/raw/b.jpg valid/RAW/a.jpg valid/RAW/b.jpg",
        "train/raw/a.jpg train raw | train/raw/b.jpg train raw | valid/RAW/a.jpg val RAW | valid/RAW/b.jpg val RAW",
        "names_clash valid/RAW",
    ),
}


@pytest.mark.parametrize(
    ("task", "case"), [("segmentation", case) for case in MASKS] + [("classification", case) for case in CLASSES]
)
def test_layouts(tmp_path, task, case):
    files, samples, problems = (MASKS if task == "segmentation" else CLASSES)[case]
    found, faults = summary(read_set(task, tree(tmp_path, files)))
    assert found == [one.replace("␣", " ") for one in samples.split(" | ") if one]
    assert faults == [one for one in problems.split(" | ") if one]


@pytest.mark.parametrize(("image", "annotations"), [("a.jpg", ""), ("images/a.jpg", ""), ("images/a.jpg", "images")])
def test_detection_split_folders(tmp_path, image, annotations):
    for folder in ("train", "valid", "test"):
        tree(tmp_path, f"{folder}/{image}")
        document = coco([("a.jpg", 40, 30)], [(0, 0, [1, 2, 3, 4])])
        write_json(tmp_path / folder / annotations / "_annotations.coco.json", document)
    tree(tmp_path, "val/")
    reading = read_set("detection", tmp_path)
    assert summary(reading) == ([f"test/{image} test", f"train/{image} train", f"valid/{image} val"], [])
    assert {sample.boxes.xywh for sample in reading.samples} == {((1.0, 2.0, 3.0, 4.0),)}


def test_category_ids_become_contiguous_in_their_order(tmp_path):
    document = coco([("a.jpg", 40, 30)], [(0, 7, [1, 2, 3, 4]), (0, 3, [5, 5, 5, 5])])
    document["categories"] = [{"id": 7, "name": "aaa"}, {"id": 3, "name": "zzz"}]
    write_json(tree(tmp_path, "images/a.jpg") / "_annotations.coco.json", document)
    reading = read_set("detection", tmp_path)
    assert reading.classes == ["zzz", "aaa"] and reading.samples[0].boxes.labels == (1, 0)


ROOT = {"id": 0, "name": "kitchen", "supercategory": "none"}
CHILD = {"id": 1, "name": "pot", "supercategory": "kitchen"}


@pytest.mark.parametrize(
    ("categories", "used", "classes", "code"),
    [
        ([ROOT, CHILD], [1], ["pot"], "root_category_dropped"),
        # An annotation uses it: a class like any other.
        ([ROOT, CHILD], [0, 1], ["kitchen", "pot"], None),
        # No other category names it as supercategory.
        ([ROOT, CHILD | {"supercategory": "none"}], [1], ["kitchen", "pot"], "class_unused"),
        # Only the category itself does.
        (
            [ROOT | {"supercategory": "kitchen"}, CHILD | {"supercategory": "x"}],
            [1],
            ["kitchen", "pot"],
            "class_unused",
        ),
    ],
)
def test_root_category(tmp_path, categories, used, classes, code):
    document = coco([("a.jpg", 40, 30)], [(0, category, [1, 2, 3, 4]) for category in used])
    write_json(tree(tmp_path, "images/a.jpg") / "_annotations.coco.json", document | {"categories": categories})
    reading = read_set("detection", tmp_path)
    assert reading.classes == classes
    assert [problem.code for problem in reading.problems] == ([code] if code else [])
    assert set(reading.samples[0].boxes.labels) == {classes.index(categories[number]["name"]) for number in used}


def test_links_inside_the_dataset_are_ordinary_files(tmp_path):
    root = tree(tmp_path / "set", "originals/a.jpg masks/a.png images/")
    (root / "images" / "a.jpg").symlink_to("../originals/a.jpg")
    # The dataset's folder itself may be a link to any place.
    (tmp_path / "link").symlink_to("set", target_is_directory=True)
    for folder in (root, tmp_path / "link"):
        assert summary(read_set("segmentation", folder)) == (["images/a.jpg masks/a.png"], [])


def test_links_into_dvcs_cache_are_not_outside(tmp_path):
    root = tree(tmp_path / "repo" / "segmentation", "masks/a.png images/")
    stored = tmp_path / "cache" / "files" / "md5" / "0a" / ("1b" * 15)
    write_text(stored, "")
    (root / "images" / "a.jpg").symlink_to(stored)
    assert summary(read_set("segmentation", root)) == (["images/a.jpg masks/a.png"], [])


@pytest.mark.parametrize("folder", ["train", "train/images", "train/images/raw"])
def test_folders_that_are_links_out_of_the_dataset(tmp_path, folder):
    root = tree(tmp_path / "classification", "valid/images/raw/a.jpg valid/images/raw/b.jpg train/images/raw/c.jpg")
    (root / folder).rename(tmp_path / "outside")
    (root / folder).symlink_to(tmp_path / "outside", target_is_directory=True)
    assert summary(read_set("classification", root)) == (
        ["valid/images/raw/a.jpg val raw", "valid/images/raw/b.jpg val raw"],
        [f"link_escapes {folder}"],
    )


@pytest.mark.parametrize(
    ("path", "outside"),
    [("a.jpg", False), ("images/../a.jpg", False), ("../other/a.jpg", True), ("/etc/passwd", True), ("in", False),
     ("out", True), ("out/a.jpg", True), ("self", False), ("a\0b", False)],
)  # fmt: skip
def test_leaves_root(tmp_path, path, outside):
    root = tree(tmp_path / "set", "images/")
    (root / "in").symlink_to("images")
    (root / "out").symlink_to(tmp_path)
    (root / "self").symlink_to("self")
    assert leaves_root(root / path, root) is outside


def test_list_images_deeper_than_pythons_stack(tmp_path):
    folder = tmp_path.joinpath(*["d"] * 200)
    write_text(folder / "a.jpg", "")
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 120)
    try:
        images, problems = list_images(tmp_path, tmp_path, nested=True)
    finally:
        sys.setrecursionlimit(limit)
    assert images == [folder / "a.jpg"] and problems == []


SPLITS = (("train", "train"), ("val", "val"), ("test2017", "test"))


@pytest.mark.parametrize(
    ("images", "masks"),
    [("images", "masks"), ("img_dir", "ann_dir"), ("Images", "Labels"), ("JPEGImages", "annotations")],
)
def test_masks_with_the_splits_inside(tmp_path, images, masks):
    """MMSegmentation's layout, and that of many U-Nets."""
    for name, _ in SPLITS:
        save(tmp_path / images / name / f"{name}.jpg")
        save_mask(tmp_path / masks / name / f"{name}.png")
    reading = read_set("segmentation", tmp_path)
    assert reading.problems == []
    assert sorted((sample.split, sample.mask) for sample in reading.samples) == sorted(
        (split, f"{masks}/{name}/{name}.png") for name, split in SPLITS
    )


@pytest.mark.parametrize(
    "folder", ["labels", "annotations", "mask", "SegmentationClassPNG", "gt", "annotations/trimaps"]
)
def test_masks_in_other_folders(tmp_path, folder):
    save(tmp_path / "images/a.jpg")
    save_mask(tmp_path / folder / "a.png")
    (tmp_path / "SegmentationClass").mkdir()
    (tmp_path / "SegmentationClass/a.npy").write_bytes(b"")
    (sample,) = read_set("segmentation", tmp_path).samples
    assert sample.mask == f"{folder}/a.png"


def test_masks_beside_the_split(tmp_path):
    save(tmp_path / "train/a.jpg")
    save_mask(tmp_path / "train_masks/a_mask.gif")
    reading = read_set("segmentation", tmp_path)
    assert reading.problems == [] and [sample.mask for sample in reading.samples] == ["train_masks/a_mask.gif"]


def test_labels_without_images_are_not_masks(tmp_path):
    save(tmp_path / "images/a.jpg")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/a.txt").write_text("0 0.1 0.1 0.9 0.1 0.9 0.9\n")
    (tmp_path / "classes.txt").write_text("pan\n")
    (sample,) = read_set("segmentation", tmp_path).samples
    assert sample.outlines is not None


def test_class_folders_with_the_splits_outside(tmp_path):
    for name, _ in SPLITS:
        for label in ("raw", "burnt"):
            for number in range(2):
                save(tmp_path / "images" / name / label / f"{name}{number}.jpg")
    reading = read_set("classification", tmp_path)
    assert reading.problems == [] and reading.classes == ["burnt", "raw"]
    assert {(sample.split, sample.file.split("/")[1]) for sample in reading.samples} == {(b, a) for a, b in SPLITS}


def test_classes_called_like_splits_beside_another_class(tmp_path):
    for label in ("test", "raw"):
        for number in range(2):
            save(tmp_path / "images" / label / f"{number}.jpg")
    assert read_set("classification", tmp_path).classes == ["raw", "test"]
