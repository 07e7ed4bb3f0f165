import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from panvision.photos.pixels import Picture
from panvision.prepare.formats.outlines import draw_mask
from panvision.prepare.formats.readers import read_set
from tests.prepare.label_formats import codes, reason, touch, write_coco, write_json, write_text

FILE = "_annotations.coco.json"
IMAGES = [("a.jpg", (40, 30), [("pot", (1, 2, 3, 4))]), ("b.jpg", (40, 30), [("pot", (5, 6, 7, 8))])]
TRIANGLE = [1, 1, 9, 1, 9, 9]


def coco_set(root, edit=lambda document: None, images=IMAGES):
    touch(root, [file for file, _, _ in images])
    write_coco(root, images)
    document = json.loads((root / FILE).read_text())
    edit(document)
    write_json(root / FILE, document)
    return root


def read(tmp_path, edit=lambda document: None, task="detection", pan_classes=None):
    return read_set(task, coco_set(tmp_path, edit), pan_classes)


def annotate(**values):
    return lambda document: document["annotations"][0].update(values)


@pytest.mark.parametrize(
    ("edit", "code", "words"),
    [
        (lambda d: d.pop("images"), "annotations_incomplete", "has no list 'images'"),
        (lambda d: d.pop("annotations"), "annotations_incomplete", "has no list 'annotations'"),
        (lambda d: d["images"][1].pop("file_name"), "annotations_incomplete", "images[1]: missing or of the wrong"),
        (lambda d: d["images"][1].update(file_name="\ud800.jpg"), "annotations_incomplete", "file_name"),
        (lambda d: d["categories"].append({"id": 4}), "annotations_incomplete", "categories[1]"),
        (lambda d: d["categories"].append({"id": 4, "name": "a\nb"}), "annotations_incomplete", "categories[1]"),
        (lambda d: d["categories"].append({"id": 4, "name": "a" * 999}), "annotations_incomplete", "categories[1]"),
        (lambda d: d.update(annotations={}), "annotations_broken", "'annotations' is not a list"),
        (lambda d: d["categories"].append({"id": 0, "name": "lid"}), "category_id_twice", "0 is 'pot' and 'lid'"),
        (lambda d: d["categories"].append({"id": 1, "name": "pot"}), "category_name_twice", "'pot' has 2 ids"),
        (lambda d: d["images"].append({"id": 0, "file_name": "c.jpg"}), "image_id_twice", "2 images have the id 0"),
        (lambda d: d["images"].append({"id": 9, "file_name": "a.jpg"}), "image_listed_twice", "a.jpg has 2 entries"),
        (lambda d: d["images"].append({"id": 9, "file_name": "./a.jpg"}), "image_listed_twice", "a.jpg has 2 entries"),
        (lambda d: d["images"].append({"id": 9, "file_name": "x.jpg"}), "image_missing", "is listed in"),
        (annotate(category_id="pot"), "annotation_broken", "missing or of the wrong type: category_id 'pot'"),
        (annotate(image_id=None), "annotation_broken", "image_id"),
        (annotate(image_id=0.5), "annotation_broken", "image_id"),
        (annotate(category_id=float("inf")), "annotation_broken", "category_id"),
        (annotate(bbox=None), "annotation_broken", "annotation 1: has neither a box nor an outline"),
        (annotate(image_id=77), "annotation_unknown_image", "annotation 1: unknown image 77"),
        (annotate(category_id=77), "annotation_unknown_category", "annotation 1: unknown category 77"),
        (annotate(id=2), "annotation_id_twice", "2 annotations have the id 2"),
        (annotate(iscrowd=1), "crowd_ignored", "1 annotations mark crowds"),
        (annotate(bbox=[], segmentation=[[1, 2, 3, 4]]), "outline_broken", "4 numbers"),
        (annotate(bbox=[], segmentation=[TRIANGLE]), "box_from_outline", "1 boxes"),
        (annotate(bbox=[float("nan")] * 4, segmentation=[TRIANGLE]), "box_from_outline", "1 boxes"),
    ],
)  # fmt: skip
def test_each_fault_has_its_code(tmp_path, edit, code, words):
    reading = read(tmp_path, edit)
    found = {found.code for found in reading.problems}
    assert code in found and found <= {code, "image_missing", "image_unlisted", "class_unused"}
    assert words in reason(reading, code)


@pytest.mark.parametrize("content", ["", "{", "[]", "3", "null", "[" * 100_000, '{"images": [' + "9" * 5000 + "]}"])
def test_files_that_are_no_coco(tmp_path, content):
    write_text(coco_set(tmp_path) / FILE, content)
    reading = read_set("detection", tmp_path)
    assert codes(reading) == [("annotations_broken", FILE)] and reading.samples == []


def test_ids_that_a_table_made_fractions_of_are_the_same_ids(tmp_path):
    def as_pandas_writes(document):
        for entry in document["annotations"]:
            entry.update({key: float(entry[key]) for key in ("id", "image_id", "category_id")})

    as_written = read_set("detection", coco_set(tmp_path / "a"))
    assert as_written.problems == [] and len(as_written.samples) == 2
    labels = [(sample.boxes.xywh, sample.boxes.labels) for sample in as_written.samples]
    reading = read_set("detection", coco_set(tmp_path / "b", as_pandas_writes))
    assert reading.problems == [] and [(sample.boxes.xywh, sample.boxes.labels) for sample in reading.samples] == labels


@pytest.mark.parametrize("listed", ["A.JPG", "a.png", "cam1/a.jpg", "%61.jpg"])
def test_missing_image_suggests_a_similar_one(tmp_path, listed):
    reading = read(tmp_path, lambda document: document["images"][0].update(file_name=listed))
    assert reason(reading, "image_missing") == f"is listed in {FILE}, but absent; there is images/a.jpg"


def test_boxes_of_no_numbers_are_left_to_the_check_of_boxes(tmp_path):
    reading = read(tmp_path, annotate(bbox=["1", 2, 3, True]))
    assert np.isnan(reading.samples[0].boxes.xywh).all()


def test_a_usable_box_comes_before_its_outline(tmp_path):
    reading = read(tmp_path, annotate(segmentation=[[1, 1, 39, 1, 39, 29]]))
    assert reading.problems == [] and reading.samples[0].boxes.xywh == ((1, 2, 3, 4),)


def test_a_broken_outline_beside_a_box_matters_for_masks_only(tmp_path):
    assert read(tmp_path / "d", annotate(segmentation=[[1]])).problems == []
    reading = read(tmp_path / "s", annotate(segmentation=[[1]]), "segmentation")
    assert {found.code for found in reading.problems} == {"outline_broken"} and len(reading.problems) == 2


def test_an_outline_in_two_parts_has_one_box(tmp_path):
    reading = read(tmp_path, annotate(bbox=None, segmentation=[TRIANGLE, [20, 20, 25, 20, 25, 28]]))
    assert reading.samples[0].boxes.xywh == ((1, 1, 24, 27),)


RUN_LENGTHS = [
    {"size": [30, 40], "counts": [30, 60, 1110]},
    {"size": [30, 40], "counts": "n0l1fR1"},
]


@pytest.mark.parametrize("crowd", [0, 1])
@pytest.mark.parametrize("segmentation", RUN_LENGTHS)
def test_run_lengths_are_outlines_those_of_crowds_too(tmp_path, segmentation, crowd):
    def edit(document):
        document["annotations"] = [document["annotations"][0] | {"segmentation": segmentation, "iscrowd": crowd}]

    reading = read(tmp_path, edit, "segmentation")
    assert [found.code for found in reading.problems] == ["masks_drawn"]
    mask, _ = draw_mask(reading.samples[0].outlines, Picture(Image.new("RGB", (40, 30)), (40, 30), 1), "a")
    assert mask[:, 1:3].all() and mask.sum() == 60


def test_segmentation_ignores_roots_and_unused_classes(tmp_path):
    def edit(document):
        document["categories"] = [
            {"id": 0, "name": "all"},
            {"id": 1, "name": "pan", "supercategory": "all"},
            {"id": 2, "name": "wok"},
        ]
        for category, annotation in enumerate(document["annotations"], start=1):
            annotation.update(category_id=category, segmentation=[TRIANGLE])

    reading = read(tmp_path, edit, "segmentation", "all")
    assert [found.code for found in reading.problems] == ["masks_drawn"]
    assert reading.classes == ["background", "pan"]
    assert [sample.outlines.polygons for sample in reading.samples] == [(tuple(map(float, TRIANGLE)),)] * 2


def test_sizes_that_are_not_stated(tmp_path):
    def edit(document):
        document["images"][0].update(width=0)
        document["images"][1].pop("height")

    assert [sample.boxes.size for sample in read(tmp_path, edit).samples] == [None, None]


def test_roboflows_own_name_of_the_photo(tmp_path):
    reading = read(tmp_path, lambda d: d["images"][0].update(extra={"name": "photo_jpg.rf.12ab.jpg"}))
    assert [sample.name for sample in reading.samples] == ["photo_jpg.rf.12ab.jpg", "b.jpg"]


@pytest.mark.parametrize(
    "file", ["annotations/instances_default.json", "instances_x.json", "result.json", "images/r.json"]
)
def test_files_of_other_names(tmp_path, file):
    coco_set(tmp_path)
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / FILE).rename(tmp_path / file)
    reading = read_set("detection", tmp_path)
    assert reading.problems == [] and len(reading.samples) == 2


def test_other_json_files_are_passed_over(tmp_path):
    coco_set(tmp_path)
    for file in ("package.json", "annotations/captions.json", "images/list.json"):
        write_json(tmp_path / file, {"images": [], "info": {}})
    assert read_set("detection", tmp_path).problems == []


def test_roboflows_file_comes_before_others(tmp_path):
    coco_set(tmp_path)
    write_coco(tmp_path, [], "annotations/instances_default.json")
    write_coco(tmp_path, [], "backup.json")
    reading = read_set("detection", tmp_path)
    assert reading.problems == [] and len(reading.samples) == 2


def test_a_link_out_of_the_set_above_the_splits(tmp_path):
    write_text(tmp_path / "set" / "train" / "a.jpg", "")
    write_coco(tmp_path, IMAGES[:1], "elsewhere.json")
    (tmp_path / "set" / "annotations").mkdir()
    (tmp_path / "set" / "annotations" / "instances_train.json").symlink_to(tmp_path / "elsewhere.json")
    reading = read_set("detection", tmp_path / "set")
    assert ("link_escapes", "annotations/instances_train.json") in codes(reading) and reading.samples == []


def test_two_files_of_coco(tmp_path):
    coco_set(tmp_path)
    (tmp_path / FILE).rename(tmp_path / "one.json")
    write_coco(tmp_path, IMAGES, "two.json")
    reading = read_set("detection", tmp_path)
    assert codes(reading) == [("annotations_twice", "one.json")] and "two.json" in reason(reading, "annotations_twice")


def test_cocos_own_layout(tmp_path):
    """One file a split in annotations/, the images in train2017/ and val2017/."""
    for split in ("train2017", "val2017"):
        write_text(tmp_path / split / "a.jpg", "")
        write_coco(tmp_path, IMAGES[:1], f"annotations/instances_{split}.json")
    reading = read_set("detection", tmp_path)
    assert reading.problems == []
    assert [(sample.file, sample.split) for sample in reading.samples] == [
        ("train2017/a.jpg", "train"),
        ("val2017/a.jpg", "val"),
    ]


@pytest.mark.parametrize("images", ["images/train", "train", "train/images"])
def test_one_annotations_folder_for_all_splits(tmp_path, images):
    for split in ("train", "val"):
        write_text(tmp_path / images.replace("train", split) / "a.jpg", "")
        write_coco(tmp_path, IMAGES[:1], f"annotations/instances_{split}.json")
    reading = read_set("detection", tmp_path)
    assert reading.problems == []
    assert [sample.split for sample in reading.samples] == ["train", "val"]


def test_category_ids_must_agree_between_files(tmp_path):
    coco_set(tmp_path / "train")
    coco_set(tmp_path / "valid", lambda document: document["categories"][0].update(name="lid"))
    reading = read_set("detection", tmp_path)
    assert ("category_id_twice", "valid/_annotations.coco.json") in codes(reading)


def test_an_image_that_two_files_list(tmp_path):
    coco_set(tmp_path)
    for split in ("train", "val"):
        write_coco(tmp_path, IMAGES, f"annotations/instances_{split}.json")
    (tmp_path / FILE).unlink()
    reading = read_set("detection", tmp_path)
    assert {found.code for found in reading.problems} == {"image_listed_twice"} and reading.samples == []
    assert "instances_train.json and annotations/instances_val.json" in reading.problems[0].reason


def test_backslashes_are_slashes_or_part_of_a_name(tmp_path):
    touch(tmp_path, ["cam\\a.jpg", "cam/b.jpg"])
    write_coco(tmp_path, [("cam\\a.jpg", (40, 30), []), ("cam\\b.jpg", (40, 30), [])])
    reading = read_set("detection", tmp_path)
    assert reading.problems == []
    assert [sample.file for sample in reading.samples] == ["images/cam/b.jpg", "images/cam\\a.jpg"]


def test_an_image_that_shows_only_a_crowd_is_a_region_to_ignore(tmp_path):
    reading = read(tmp_path, annotate(iscrowd=1))
    assert [found.code for found in reading.problems] == ["crowd_ignored"]
    assert [sample.file for sample in reading.samples] == ["images/a.jpg", "images/b.jpg"]
    assert reading.samples[0].boxes.labels[0] < 0 <= reading.samples[1].boxes.labels[0]


RLE = {"size": [30, 40], "counts": [0, 60, 1140]}


@pytest.mark.parametrize(
    ("segmentation", "codes", "boxes"), [(RLE, ["crowds_used"], 2), ([], ["crowd_ignored", "crowds_only"], 2)]
)
def test_crowds_only(tmp_path, segmentation, codes, boxes):
    """CVAT marks every mask drawn with its brush as a crowd."""

    def edit(document):
        for annotation in document["annotations"]:
            annotation.update(iscrowd=1, segmentation=segmentation)

    reading = read(tmp_path, edit)
    assert sorted({found.code for found in reading.problems}) == codes
    assert sum(len(sample.boxes.xywh) for sample in reading.samples) == boxes


BOXES = [((1.0, 2.0, 3.0, 4.0),), ((5.0, 6.0, 7.0, 8.0),)]


@pytest.mark.parametrize("lists", [("images",), ("annotations",), ("categories", "annotations"), ("categories",)])
@pytest.mark.parametrize("form", [str, float, lambda value: f"{value}.0"])
def test_whole_numbers_are_one_id_in_every_form(tmp_path, lists, form):
    """VIA writes the ids of images as numbers, and those of their annotations as text."""

    def edit(document):
        for entry in (entry for key in lists for entry in document[key]):
            entry.update({key: form(value) for key, value in entry.items() if key in ("id", "image_id", "category_id")})

    reading = read(tmp_path, edit)
    assert reading.problems == [] and [sample.boxes.xywh for sample in reading.samples] == BOXES


def test_ids_with_leading_zeros_stay_text(tmp_path):
    def edit(document):
        for number, entry in enumerate(document["images"]):
            entry["id"] = "007" if number else 7
        document["annotations"][0]["image_id"], document["annotations"][1]["image_id"] = "7", "007"

    reading = read(tmp_path, edit)
    assert reading.problems == [] and [sample.boxes.xywh for sample in reading.samples] == BOXES


@pytest.mark.parametrize("outline", [TRIANGLE, [TRIANGLE], [[1, 1], [9, 1], [9, 9]]])
def test_an_outline_in_each_form(tmp_path, outline):
    """VIA's outline is not in its own list; other tools write points."""
    reading = read(tmp_path, lambda d: [each.update(segmentation=outline) for each in d["annotations"]], "segmentation")
    assert [found.code for found in reading.problems] == ["masks_drawn"]
    assert [sample.outlines.polygons for sample in reading.samples] == [(tuple(map(float, TRIANGLE)),)] * 2


def run_lengths():
    """A mask, and its run lengths as tools write them."""
    mask = np.zeros((30, 40), np.uint8)
    mask[3:9, 5:20] = 1
    text = coco_mask.encode(np.asfortranarray(mask))["counts"]
    flat = mask.flatten(order="F")
    counts = np.diff([0, *(np.flatnonzero(np.diff(flat)) + 1).tolist(), flat.size]).tolist()
    return mask, {
        "text": {"size": [30, 40], "counts": text.decode()},
        "printed bytes": {"size": [30, 40], "counts": str(text)},
        "numbers": {"size": [30, 40], "counts": counts},
        "floats": {"size": [30.0, 40.0], "counts": [float(count) for count in counts]},
        "numbers as text": {"size": ["30", "40"], "counts": [str(count) for count in counts]},
        "a printed list": {"size": [30, 40], "counts": str(counts)},
        "in a list": [{"size": [30, 40], "counts": counts}],
        "without size": {"counts": counts},
    }


@pytest.mark.parametrize("form", run_lengths()[1])
def test_run_lengths_in_each_form(tmp_path, form):
    mask, forms = run_lengths()
    reading = read(tmp_path, annotate(segmentation=forms[form]), "segmentation")
    drawn, _ = draw_mask(reading.samples[0].outlines, Picture(Image.new("RGB", (40, 30)), (40, 30), 1), "x")
    assert (drawn == mask).all()
