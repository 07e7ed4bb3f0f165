import math

import numpy as np
import pytest
from PIL import Image

from panvision.photos.pixels import Picture
from panvision.prepare.formats.outlines import draw_mask
from panvision.prepare.formats.readers import read_set
from tests.prepare.label_formats import codes, reason, touch, write_text

PICTURE = Picture(Image.new("RGB", (40, 30)), (40, 30), 1)
LABELS = "<meta><task><labels><label><name>pan</name></label></labels></task></meta>"
BOX = '<box label="pan" xtl="1" ytl="2" xbr="4.5" ybr="6" occluded="0"><attribute name="x">1</attribute></box>'


def cvat_set(root, *shapes, meta=LABELS, attributes='width="40" height="30"'):
    touch(root, ["a.jpg"])
    image = f'<image id="0" name="a.jpg" {attributes}>{"".join(shapes)}</image>'
    write_text(root / "annotations.xml", f"<annotations><version>1.1</version>{meta}{image}</annotations>")
    return root


def boxes(reading):
    return reading.samples[0].boxes.xywh


def area(reading):
    mask, problems = draw_mask(reading.samples[0].outlines, PICTURE, "a")
    assert problems == []
    return mask.sum()


@pytest.mark.parametrize(
    ("given", "box", "size"),
    [
        (BOX, (1, 2, 3.5, 4), 14),
        ('<box label="pan" xtl="10" ytl="8" xbr="30" ybr="18" rotation="90.00"/>', (15, 3, 10, 20), 200),
        ('<polygon label="pan" points="1,2;9,2;9,8"/>', (1, 2, 8, 6), 24),
        ('<polygon label="pan" points="1.00, 2.00; 9.00, 2.00; 9.00, 8.00"/>', (1, 2, 8, 6), 24),
        ('<ellipse label="pan" cx="20" cy="15" rx="10" ry="5"/>', (10, 10, 20, 10), math.pi * 50),
        ('<ellipse label="pan" cx="20" cy="15" rx="10" ry="5" rotation="90"/>', (15, 5, 10, 20), math.pi * 50),
        ('<mask label="pan" rle="1, 3, 2, 2" left="5" top="6" width="4" height="2"/>', (6, 6, 3, 2), 5),
    ],
)
def test_shapes(tmp_path, given, box, size):
    detection = read_set("detection", cvat_set(tmp_path, given))
    assert np.allclose(boxes(detection), [box]) and detection.classes == ["pan"]
    assert codes(detection) == ([] if given is BOX else [("box_from_outline", "annotations.xml")])
    segmentation = read_set("segmentation", tmp_path)
    assert codes(segmentation) == [("masks_drawn", "annotations.xml")]
    assert area(segmentation) == pytest.approx(size, rel=0.15)


def test_a_mask_counts_row_by_row(tmp_path):
    given = '<mask label="pan" rle="1, 3, 2, 2" left="5" top="6" width="4" height="2"/>'
    mask, _ = draw_mask(read_set("segmentation", cvat_set(tmp_path, given)).samples[0].outlines, PICTURE, "a")
    assert np.argwhere(mask).tolist() == [[6, 6], [6, 7], [6, 8], [7, 7], [7, 8]]


def test_a_rotation_turns_clockwise(tmp_path):
    given = '<box label="pan" xtl="10" ytl="10" xbr="30" ybr="14" rotation="30"/>'
    mask, _ = draw_mask(read_set("segmentation", cvat_set(tmp_path, given)).samples[0].outlines, PICTURE, "a")
    assert mask[16, 28] == 1 and mask[8, 28] == 0


@pytest.mark.parametrize(
    ("given", "code", "words"),
    [
        ('<points label="pan" points="1,2"/>', "annotation_broken", "annotation 2 of a.jpg is a 'points'"),
        ('<polyline label="pan" points="1,2;3,4"/>', "annotation_broken", "'polyline'"),
        ('<cuboid label="pan"/>', "annotation_broken", "'cuboid'"),
        ('<skeleton label="pan"><points label="x" points="1,2"/></skeleton>', "annotation_broken", "'skeleton'"),
        ('<box xtl="1" ytl="2" xbr="3" ybr="4"/>', "annotation_broken", "without a label"),
        ('<box label="wok" xtl="1" ytl="2" xbr="3" ybr="4"/>', "annotation_unknown_category", "'wok'"),
        ('<polygon label="pan" points="1,2;3,4"/>', "outline_broken", "annotation 2 of a.jpg: its outline has 4"),
        ('<polygon label="pan" points="1,2;3,4;5"/>', "outline_broken", "its outline"),
        ('<polygon label="pan" points="1,2;3,4;x,6"/>', "outline_broken", "finite"),
        ('<polygon label="pan"/>', "outline_broken", "0 numbers"),
        ('<ellipse label="pan" cx="1" cy="2" rx="inf" ry="1"/>', "outline_broken", "as cx or cy or rx or ry"),
        ('<box label="pan" xtl="1" ytl="2" xbr="3" ybr="4" rotation="inf"/>', "outline_broken", "number as rotation"),
        ('<mask label="pan" rle="1" left="0" top="0" width="2" height="2"/>', "outline_broken", "do not make 2x2"),
        ('<mask label="pan" rle="4" left="0" top="0" width="2" height="2"/>', "outline_broken", "marks nothing"),
        ('<mask label="pan" rle="0,4" left="39" top="0" width="2" height="2"/>', "outline_broken", "reaches out"),
        ('<mask label="pan" rle="0,4" left="-1" top="0" width="2" height="2"/>', "outline_broken", "reaches out"),
        ('<mask label="pan" rle="0,4" left="0" top="0" width="-2" height="-2"/>', "outline_broken", "-2x-2"),
        ('<mask label="pan" rle="a" left="0" top="0" width="2" height="2"/>', "outline_broken", "no usable"),
        (
            '<mask label="pan" rle="0,1000000000000" left="0" top="0" width="1000000" height="1000000"/>',
            "outline_broken",
            "no usable",
        ),
    ],
)
def test_shapes_that_cannot_be_used(tmp_path, given, code, words):
    reading = read_set("detection", cvat_set(tmp_path, BOX, given))
    assert codes(reading) == [(code, "annotations.xml")] and words in reason(reading, code)
    assert len(boxes(reading)) == 1


def test_a_box_without_numbers_is_left_to_the_check_of_boxes(tmp_path):
    reading = read_set("detection", cvat_set(tmp_path, '<box label="pan" xtl="1" ytl="x" xbr="3"/>'))
    assert reading.problems == [] and np.isnan(boxes(reading)).any()


def test_tags_of_the_whole_image_are_no_shapes(tmp_path):
    reading = read_set("detection", cvat_set(tmp_path, '<tag label="night"/>', BOX))
    assert reading.problems == [] and reading.samples[0].boxes.ids == ("1 of a.jpg",)


def test_an_object_that_has_left_the_picture_is_not_in_it(tmp_path):
    root = cvat_set(tmp_path, BOX.replace("<box", '<box outside="1"'), BOX.replace("<box", '<box outside="0"'))
    reading = read_set("detection", root)
    assert reading.problems == [] and reading.samples[0].boxes.ids == ("2 of a.jpg",)
    gone = '<polygon label="pan" points="1,2;9,2;9,8" outside="1"/>'
    assert area(read_set("segmentation", cvat_set(tmp_path, gone))) == 0


def test_the_format_for_video(tmp_path):
    touch(tmp_path, ["frame_000000.jpg"])
    write_text(
        tmp_path / "annotations.xml", '<annotations><track id="0" label="pan"><box frame="0"/></track></annotations>'
    )
    reading = read_set("detection", tmp_path)
    assert codes(reading) == [("annotations_broken", "annotations.xml")]
    assert "CVAT for images 1.1" in reason(reading, "annotations_broken")


def test_labels_without_shapes_and_labels_for_none(tmp_path):
    labels = "".join(
        f"<label><name>{name}</name><type>{kind}</type></label>"
        for name, kind in (("pan", "rectangle"), ("lid", "any"), ("night", "tag"), ("tip", "points"))
    )
    meta = f"<meta><project><labels>{labels}</labels></project></meta>"
    reading = read_set("detection", cvat_set(tmp_path, BOX, meta=meta))
    assert reading.classes == ["lid", "pan"] and codes(reading) == [("class_unused", "annotations.xml")]
    assert "'lid'" in reason(reading, "class_unused")


def test_without_labels_in_the_file_the_shapes_say_them(tmp_path):
    reading = read_set("detection", cvat_set(tmp_path, BOX, BOX.replace('"pan"', '"lid"'), meta=""))
    assert reading.problems == [] and reading.classes == ["lid", "pan"]


@pytest.mark.parametrize(
    ("subsets", "splits"), [(("Train", "Validation"), ["train", "val"]), (("Train", "x"), ["", ""])]
)
def test_subsets_of_a_project(tmp_path, subsets, splits):
    """Images are in a folder of their subset's name."""
    images = ""
    for number, subset in enumerate(subsets):
        touch(tmp_path, [f"{subset}/a.jpg"])
        images += f'<image id="{number}" name="a.jpg" subset="{subset}" width="40" height="30"/>'
    write_text(tmp_path / "annotations.xml", f"<annotations>{images}</annotations>")
    reading = read_set("detection", tmp_path)
    assert reading.problems == []
    assert [sample.split for sample in reading.samples] == splits


def test_images_without_a_name_and_without_a_file(tmp_path):
    touch(tmp_path, ["a.jpg"])
    images = '<image id="0"/><image id="1" name="gone.jpg"/><image id="2" name="a.jpg"/><image id="3" name="a.jpg"/>'
    write_text(tmp_path / "annotations.xml", f"<annotations>{images}</annotations>")
    reading = read_set("detection", tmp_path)
    assert codes(reading) == [
        ("annotations_incomplete", "annotations.xml"),
        ("image_listed_twice", "annotations.xml"),
        ("image_missing", "images/gone.jpg"),
    ]


def test_two_files_of_cvat(tmp_path):
    root = cvat_set(tmp_path, BOX)
    write_text(root / "more.xml", "<annotations/>")
    assert codes(read_set("detection", root)) == [("annotations_twice", "annotations.xml")]


def test_a_broken_file_says_nothing_of_its_images(tmp_path):
    root = cvat_set(tmp_path, BOX)
    write_text(root / "annotations.xml", "<annotations>")
    assert codes(read_set("detection", root)) == [("annotations_broken", "annotations.xml")]
