import base64
import io
import math

import numpy as np
import pytest
from PIL import Image

from panvision.photos.pixels import Picture
from panvision.prepare.formats.outlines import draw_mask
from panvision.prepare.formats.readers import read_set
from tests.prepare.label_formats import codes, reason, write_json, write_text

PICTURE = Picture(Image.new("RGB", (40, 30)), (40, 30), 1)


def shape(kind, points, label="pan", **more):
    return {"label": label, "points": points, "shape_type": kind, **more}


def labelme_set(root, *shapes, **more):
    write_text(root / "images" / "a.jpg", "")
    document = {"shapes": list(shapes), "imagePath": "a.jpg", "imageWidth": 40, "imageHeight": 30, **more}
    write_json(root / "images" / "a.json", document)
    return root


def png(mask):
    stream = io.BytesIO()
    Image.fromarray(mask).save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()


TRIANGLE = shape("polygon", [[1, 2], [9, 2], [9, 8]])
CIRCLE = shape("circle", [[20, 15], [20, 25]])


@pytest.mark.parametrize(
    ("given", "box"),
    [
        (TRIANGLE, (1, 2, 8, 6)),
        ({key: value for key, value in TRIANGLE.items() if key != "shape_type"}, (1, 2, 8, 6)),
        (shape("rectangle", [[9, 2], [1, 8]]), (1, 2, 8, 6)),
        (shape("rectangle", [[1, 2], [9, 2], [9, 8], [1, 8]]), (1, 2, 8, 6)),
        (CIRCLE, (10, 5, 20, 20)),
        (shape("mask", [[1, 2], [4, 3]], mask=png(np.ones((2, 4), np.uint8))), (1, 2, 4, 2)),
    ],
)
def test_boxes(tmp_path, given, box):
    reading = read_set("detection", labelme_set(tmp_path, given))
    assert reading.samples[0].boxes.xywh == (pytest.approx(box),)
    drawn_as_box = given.get("shape_type") in ("rectangle", "mask")
    assert codes(reading) == ([] if drawn_as_box else [("box_from_outline", "images")])


def test_names_of_classes_that_somebody_typed_in_two_ways(tmp_path):
    names = ["inlet_pipe", "pan", " Pan", "Inlet  pipe", "inlet-pipe", "pans", "inletpipe"]
    boxes = [shape("rectangle", [[1, 2], [9, 8]], label=name) for name in names]
    reading = read_set("detection", labelme_set(tmp_path, *boxes))
    assert reading.classes == sorted(names), "they are reported, and not joined"
    assert [(found.code, found.file, found.reason) for found in reading.problems] == [
        ("class_names_alike", "images/a.json", "'inlet-pipe' and 'Inlet  pipe' are two classes"),
        ("class_names_alike", "images/a.json", "'inlet_pipe' and 'Inlet  pipe' are two classes"),
        ("class_names_alike", "images/a.json", "'pan' and ' Pan' are two classes"),
    ]
    assert read_set("segmentation", tmp_path).problems[0].code != "class_names_alike"


@pytest.mark.parametrize(
    ("given", "area"),
    [
        (TRIANGLE, 24),
        (shape("rectangle", [[9, 2], [1, 8]]), 48),
        (CIRCLE, math.pi * 100),
        (shape("mask", [[1, 2], [4, 3]], mask=png(np.array([[0, 1, 1, 1], [1, 0, 0, 0]], np.uint8))), 4),
        (shape("mask", [[1, 2], [4, 3]], mask=png(np.array([[0, 1, 1, 1], [1, 0, 0, 0]], bool))), 4),
    ],
)
def test_masks(tmp_path, given, area):
    reading = read_set("segmentation", labelme_set(tmp_path, given))
    assert codes(reading) == [("masks_drawn", "images")]
    mask, problems = draw_mask(reading.samples[0].outlines, PICTURE, "a")
    assert problems == [] and mask.sum() == pytest.approx(area, rel=0.2)


def test_mask_is_placed_by_its_points(tmp_path):
    given = shape("mask", [[1.2, 2.4], [4.2, 3.4]], mask=png(np.array([[0, 1, 1, 1], [1, 0, 0, 0]], np.uint8)))
    mask, _ = draw_mask(read_set("segmentation", labelme_set(tmp_path, given)).samples[0].outlines, PICTURE, "a")
    assert np.argwhere(mask).tolist() == [[2, 2], [2, 3], [2, 4], [3, 1]]


@pytest.mark.parametrize(
    ("given", "code", "words"),
    [
        (shape("line", [[1, 2], [3, 4]]), "annotation_broken", "shape 1 is a 'line'"),
        (shape("point", [[1, 2]]), "annotation_broken", "'point'"),
        (shape(3, [[1, 2]]), "annotation_broken", "shape 1"),
        (shape([], [[1, 2], [3, 4]]), "outline_broken", "annotation 1"),
        (shape(["x"], [[1, 2], [3, 4]]), "annotation_broken", "shape 1"),
        (shape("polygon", [[1, 2], [3, 4], [5, 6]], label=""), "annotation_broken", "shape 1 has no label"),
        ("x", "annotation_broken", "shape 1 has no label"),
        (shape("polygon", [[1, 2], [3, 4]]), "outline_broken", "annotation 1: its outline has 4 numbers"),
        (shape("polygon", [[1, 2], [3, 4], [5]]), "outline_broken", "annotation 1"),
        (shape("polygon", None), "outline_broken", "annotation 1"),
        (shape("rectangle", [[1, 2]]), "outline_broken", "a rectangle has two points, not 1"),
        (shape("rectangle", [[1, 2], [3, None]]), "outline_broken", "annotation 1"),
        (shape("circle", [[1, 2], [3, 4], [5, 6]]), "outline_broken", "a circle has two points, not 3"),
    ],
)
def test_shapes_that_cannot_be_used(tmp_path, given, code, words):
    reading = read_set("detection", labelme_set(tmp_path, shape("rectangle", [[1, 2], [3, 4]]), given))
    assert codes(reading) == [(code, "images/a.json")] and words in reason(reading, code)
    assert len(reading.samples[0].boxes.xywh) == 1


@pytest.mark.parametrize(
    ("mask", "more", "words"),
    [
        (None, {}, "missing"),
        (png(np.ones((2, 4), np.uint8)), {"imageWidth": None}, "imageWidth"),
        (png(np.zeros((2, 4), np.uint8)), {}, "marks nothing"),
        (png(np.ones((2, 400), np.uint8)), {}, "reaches out of 40x30"),
        ("!!", {}, "base64"),
        (base64.b64encode(b"no picture").decode(), {}, "cannot be decoded"),
        ("\ud800", {}, "ASCII"),
    ],
)
def test_masks_that_cannot_be_used(tmp_path, mask, more, words):
    root = labelme_set(tmp_path, TRIANGLE, shape("mask", [[1, 2], [4, 3]], mask=mask), **more)
    assert words in reason(read_set("segmentation", root), "outline_broken")


def test_shapes_of_one_group_are_one_object(tmp_path):
    parts = [
        shape("polygon", [[1, 2], [9, 2], [9, 8]], group_id=1),
        shape("polygon", [[20, 20], [29, 20], [29, 28]], group_id=1),
        shape("polygon", [[1, 2], [3, 2], [3, 8]], group_id=1, label="lid"),
        shape("polygon", [[1, 2], [4, 2], [4, 8]], group_id=None),
    ]
    reading = read_set("detection", labelme_set(tmp_path, *parts))
    assert reading.samples[0].boxes.xywh == ((1, 2, 28, 26), (1, 2, 2, 6), (1, 2, 3, 6))
    assert [reading.classes[label] for label in reading.samples[0].boxes.labels] == ["pan", "lid", "pan"]


@pytest.mark.parametrize("content", ['{"shapes": 3}', "{", '{"shapes": null}'])
def test_files_that_are_no_labelme(tmp_path, content):
    root = labelme_set(tmp_path)
    write_text(root / "images" / "a.json", content)
    assert codes(read_set("detection", root)) == [("annotations_broken", "images/a.json")]


@pytest.mark.parametrize("path", ["b.jpg", "..\\photos\\b.jpg", "../photos/b.jpg"])
def test_the_stated_image_comes_before_the_files_own_name(tmp_path, path):
    root = labelme_set(tmp_path, TRIANGLE, imagePath=path)
    write_text(root / "images" / "b.jpg", "")
    reading = read_set("detection", root)
    assert [sample.name for sample in reading.samples] == ["b.jpg"]
    assert ("image_unlisted", "images/a.jpg") in codes(reading)


@pytest.mark.parametrize("path", ["gone.jpg", "", None, 3, "..", "\0", "x" * 5000])
def test_the_files_own_name_where_the_stated_image_is_gone(tmp_path, path):
    reading = read_set("detection", labelme_set(tmp_path, TRIANGLE, imagePath=path))
    assert [sample.name for sample in reading.samples] == ["a.jpg"]


def test_two_files_that_mean_one_image(tmp_path):
    root = labelme_set(tmp_path, TRIANGLE)
    write_json(root / "images" / "b.json", {"shapes": [], "imagePath": "a.jpg"})
    reading = read_set("detection", root)
    assert codes(reading) == [("image_listed_twice", "images/a.json")] and reading.samples == []
    assert "images/a.json and images/b.json" in reason(reading, "image_listed_twice")


def test_in_a_folder_of_their_own(tmp_path):
    root = labelme_set(tmp_path, TRIANGLE)
    (root / "annotations").mkdir()
    (root / "images" / "a.json").rename(root / "annotations" / "a.json")
    assert [sample.name for sample in read_set("detection", root).samples] == ["a.jpg"]
