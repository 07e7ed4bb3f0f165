"""The same labels in every format, their layouts, and input that no exporter writes."""

import copy
import time
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from panvision.dataset.paths import fold_name
from panvision.photos.pixels import Picture
from panvision.prepare.formats.boxes import place_boxes
from panvision.prepare.formats.outlines import draw_mask
from panvision.prepare.formats.readers import read_set
from tests.prepare.label_formats import (
    WRITERS,
    codes,
    pixel_boxes,
    reason,
    touch,
    write_json,
    write_set,
    write_text,
)

SQUARE = (10.0, 5.0, 30.0, 5.0, 30.0, 25.0, 10.0, 25.0)
IMAGES = [
    ("a.jpg", (40, 30), [("pot", (1.0, 2.0, 3.0, 4.0)), ("lid", (5.0, 6.0, 7.5, 8.25))]),
    ("b.PNG", (100, 80), [("pot", (0.0, 0.0, 100.0, 80.0))]),
    ("c.webp", (40, 30), []),
]
OUTLINED = [("a.jpg", (40, 30), [("pan", SQUARE), ("wok", (1.0, 1.0, 8.0, 1.0, 8.0, 9.0))]), ("b.jpg", (40, 30), [])]
PICTURE = Picture(Image.new("RGB", (40, 30)), (40, 30), 1)


def sizes_of(images):
    return {f"images/{file}": size for file, size, _ in images}


def severities(reading):
    return {found.severity for found in reading.problems}


# Hidden names are not read, control characters cannot be written in XML, and slashes make folders.
NAMES = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="/\0\ufffe\uffff"), max_size=20).map(
    lambda name: f"p{name}"
)
FILES = st.tuples(NAMES, st.sampled_from([".jpg", ".JPG", ".png", ".Webp"])).map("".join)
EDGES = st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted)
OBJECTS = st.lists(st.tuples(st.sampled_from(["pot", "pan lid", "Löffel", "on", "1e3"]), EDGES, EDGES), max_size=4)
SIZES = st.tuples(st.integers(1, 5000), st.integers(1, 5000))
STEMS = {"unique_by": lambda row: fold_name(Path(row[0]).stem), "min_size": 1, "max_size": 3}


def in_pixels(row):
    file, (width, height), objects = row
    boxes = [
        (name, (left * width, top * height, (right - left) * width, (bottom - top) * height))
        for name, (left, right), (top, bottom) in objects
    ]
    return file, (width, height), boxes


@given(images=st.lists(st.tuples(FILES, SIZES, OBJECTS).map(in_pixels), **STEMS))
@settings(max_examples=40, deadline=None)
def test_every_format_gives_the_same_boxes(tmp_path_factory, images):
    # Without any object there are no class names to write, which YOLO needs.
    assume(any(objects for _, _, objects in images))
    for kind in WRITERS:
        reading = read_set("detection", write_set(kind, tmp_path_factory.mktemp(kind), images))
        assert severities(reading) <= {"warning"}, kind
        assert reading.classes == sorted({name for _, _, objects in images for name, _ in objects}), kind
        found = pixel_boxes(reading, sizes_of(images))
        assert set(found) == set(sizes_of(images)), kind
        for file, _, objects in images:
            assert [name for name, _ in found[f"images/{file}"]] == [name for name, _ in objects], kind
            for (_, box), (_, expected) in zip(found[f"images/{file}"], objects, strict=True):
                assert box == pytest.approx(expected, abs=1e-6), kind


@pytest.mark.parametrize("kind", WRITERS)
def test_sizes_ids_and_names(tmp_path, kind):
    reading = read_set("detection", write_set(kind, tmp_path, IMAGES))
    assert reading.problems == []
    assert [(sample.file, sample.name, sample.split) for sample in reading.samples] == [
        (f"images/{file}", file, "") for file, _, _ in IMAGES
    ]
    expected = None if kind == "YOLO" else (40.0, 30.0)
    assert [sample.boxes.size for sample in reading.samples][::2] == [expected, expected]
    assert all(len(set(sample.boxes.ids)) == len(sample.boxes.labels) for sample in reading.samples)


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("inner", ["images", ""])
def test_split_folders_share_classes_by_name(tmp_path, kind, inner):
    write_set(kind, tmp_path / "train", [("a.jpg", (40, 30), [("pot", (1.0, 2.0, 3.0, 4.0)), ("lid", (1, 1, 2, 2))])])
    write_set(kind, tmp_path / "valid", [("a.jpg", (40, 30), [("pot", (5.0, 6.0, 7.0, 8.0))])])
    if kind == "COCO":
        # One id means one class in all files.
        document = (tmp_path / "valid" / "_annotations.coco.json").read_text()
        document = document.replace('"category_id": 0', '"category_id": 1').replace(
            '{"id": 0, "name"', '{"id": 1, "name"'
        )
        write_text(tmp_path / "valid" / "_annotations.coco.json", document)
    if not inner:
        for part in ("train", "valid"):
            for path in [*(tmp_path / part / "images").iterdir()]:
                path.rename(tmp_path / part / path.name)
            (tmp_path / part / "images").rmdir()
    reading = read_set("detection", tmp_path)
    assert reading.problems == [] and sorted(reading.classes) == ["lid", "pot"]
    train, valid = reading.samples
    assert (train.split, valid.split) == ("train", "val")
    assert [reading.classes[label] for label in (*train.boxes.labels, *valid.boxes.labels)] == ["pot", "lid", "pot"]


@pytest.mark.parametrize("kind", WRITERS)
def test_ultralytics_puts_the_splits_into_images(tmp_path, kind):
    images = [("train/a.jpg", (40, 30), [("pot", (1, 2, 3, 4))]), ("val/a.jpg", (40, 30), [("pot", (5, 6, 7, 8))])]
    reading = read_set("detection", write_set(kind, tmp_path, images))
    assert reading.problems == []
    assert [(sample.file, sample.split) for sample in reading.samples] == [
        ("images/train/a.jpg", "train"),
        ("images/val/a.jpg", "val"),
    ]


def test_inner_folders_are_splits_only_where_all_are(tmp_path):
    images = [(file, (40, 30), [("pot", (1, 2, 3, 4))]) for file in ("train/a.jpg", "b.jpg")]
    reading = read_set("detection", write_set("COCO", tmp_path, images))
    assert {sample.split for sample in reading.samples} == {""}


@pytest.mark.parametrize(("first", "second"), [("COCO", "YOLO"), ("VOC", "CVAT"), ("LabelMe", "COCO")])
def test_two_formats_in_one_part_are_an_error(tmp_path, first, second):
    write_set(first, tmp_path / "train", IMAGES)
    write_set(second, tmp_path / "train", IMAGES)
    write_set(second, tmp_path / "test", IMAGES)
    reading = read_set("detection", tmp_path)
    text = reason(reading, "annotations_twice")
    assert first in text and second in text
    assert {sample.split for sample in reading.samples} == {"test"}


def test_formats_may_differ_between_parts(tmp_path):
    write_set("YOLO", tmp_path / "train", IMAGES)
    write_set("VOC", tmp_path / "test", IMAGES)
    reading = read_set("detection", tmp_path)
    assert reading.problems == [] and reading.classes == ["lid", "pot"]
    assert [sample.boxes.labels for sample in reading.samples] == [(1, 0), (1,), (), (1, 0), (1,), ()]


@pytest.mark.parametrize("file", ["notes.json", "a.json", "images/a.jpg.aux.xml", "annotations.xml"])
def test_a_broken_file_that_may_be_of_another_format(tmp_path, file):
    write_text(write_set("YOLO", tmp_path, IMAGES) / file, "{")
    reading = read_set("detection", tmp_path)
    assert [(found.code, found.file, found.severity) for found in reading.problems] == [
        ("annotations_broken", file, "warning")
    ]
    assert len(reading.samples) == 3


def test_no_annotations(tmp_path):
    touch(tmp_path / "train", ["a.jpg"])
    write_json(tmp_path / "train" / "package.json", {"name": "x"})
    write_text(tmp_path / "train" / "README.txt", "0 1 2 3 4")
    reading = read_set("detection", tmp_path)
    assert codes(reading) == [("annotations_missing", "train/_annotations.coco.json")]
    assert all(word in reason(reading, "annotations_missing") for word in ("COCO", "YOLO", "VOC", "LabelMe", "CVAT"))


@pytest.mark.parametrize("kind", WRITERS)
def test_an_image_that_no_annotation_mentions_is_left_out(tmp_path, kind):
    write_set(kind, tmp_path, IMAGES)
    touch(tmp_path, ["forgotten.jpg"])
    reading = read_set("detection", tmp_path)
    assert codes(reading) == [("image_unlisted", "images/forgotten.jpg")]
    assert len(reading.samples) == 3


@pytest.mark.parametrize("kind", WRITERS)
def test_an_annotated_image_that_is_gone(tmp_path, kind):
    write_set(kind, tmp_path, IMAGES)
    (tmp_path / "images" / "a.jpg").unlink()
    reading = read_set("detection", tmp_path)
    ((code, file), *rest) = codes(reading)
    assert code == ("image_missing" if kind in ("COCO", "CVAT") else "annotation_file_orphaned")
    assert Path(file).stem == "a" and len(reading.samples) == 2
    # A label file without its image is not read.
    assert rest == ([("class_unused", "data.yaml")] if kind == "YOLO" else [])


@pytest.mark.parametrize("kind", ["YOLO", "VOC", "LabelMe"])
def test_two_images_of_one_name(tmp_path, kind):
    write_set(kind, tmp_path, IMAGES)
    touch(tmp_path, ["c.jpg"])
    reading = read_set("detection", tmp_path)
    # LabelMe's file says which of them it means.
    expected = ["image_unlisted"] if kind == "LabelMe" else ["stem_twice", "stem_twice"]
    assert [found.code for found in reading.problems] == expected


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("task", ["detection", "segmentation"])
def test_boxes_around_outlines_and_masks_from_outlines(tmp_path, kind, task):
    reading = read_set(task, write_set(kind, tmp_path, OUTLINED), "all")
    ((code, file),) = codes(reading)
    (found,) = reading.problems
    assert file in ("_annotations.coco.json", "labels", "Annotations", "images", "annotations.xml")
    if task == "detection":
        assert (code, found.severity) == ("box_from_outline", "fixed") and found.reason.startswith("2 boxes")
        boxes = pixel_boxes(reading, sizes_of(OUTLINED))["images/a.jpg"]
        assert [name for name, _ in boxes] == ["pan", "wok"]
        assert np.allclose([box for _, box in boxes], [[10, 5, 20, 20], [1, 1, 7, 8]])
        return
    assert (code, found.severity) == ("masks_drawn", "fixed")
    assert found.reason == "masks of 2 images were drawn from 2 outlines"
    assert reading.classes == ["background", "pan"]
    drawn, empty = (draw_mask(sample.outlines, PICTURE, "x") for sample in reading.samples)
    assert drawn[1] == empty[1] == [] and not empty[0].any()
    expected = np.zeros((30, 40), np.uint8)
    expected[5:25, 10:30] = 1
    assert np.array_equal(drawn[0][9:], expected[9:]) and drawn[0][2, 6] == 1


@pytest.mark.parametrize(("kind", "folder"), [("VOC", "xml"), ("LabelMe", "json"), ("YOLO", "txt"), ("VOC", "XMLs")])
def test_labels_in_a_folder_named_by_their_suffix(tmp_path, kind, folder):
    root = write_set(kind, tmp_path, IMAGES)
    (root / folder).mkdir()
    for path in [path for path in root.rglob("*") if path.suffix in (".xml", ".json", ".txt")]:
        path.rename(root / folder / path.name)
    reading = read_set("detection", root)
    assert reading.problems == [] and len(reading.samples) == 3


@pytest.mark.parametrize("kind", ["COCO", "YOLO", "VOC"])
def test_boxes_are_no_outlines(tmp_path, kind):
    reading = read_set("segmentation", write_set(kind, tmp_path, IMAGES))
    assert [found.code for found in reading.problems] == ["outline_broken"]
    assert "none of its 3 annotations" in reason(reading, "outline_broken")


@pytest.mark.parametrize("kind", ["COCO", "YOLO", "VOC"])
def test_a_box_among_outlines_is_named(tmp_path, kind):
    images = [("a.jpg", (40, 30), [("pan", SQUARE), ("pan", (1.0, 2.0, 3.0, 4.0))])]
    reading = read_set("segmentation", write_set(kind, tmp_path, images))
    assert "2" in reason(reading, "outline_broken") and "no outline" in reason(reading, "outline_broken")


@pytest.mark.parametrize("kind", ["LabelMe", "CVAT"])
def test_rectangles_that_were_drawn_are_outlines(tmp_path, kind):
    reading = read_set("segmentation", write_set(kind, tmp_path, IMAGES), "all")
    assert [found.code for found in reading.problems] == ["masks_drawn"]
    mask, _ = draw_mask(reading.samples[0].outlines, PICTURE, "x")
    assert mask[2:6, 1:4].all() and mask.sum() == 12 + 8 * 8 - 8


@pytest.mark.parametrize("masks", ["masks/a.png", "SegmentationClass/a.png", "images/a_mask.png"])
def test_mask_files_come_before_outlines(tmp_path, masks):
    write_set("COCO", tmp_path, OUTLINED[:1])
    write_text(tmp_path / masks, "")
    reading = read_set("segmentation", tmp_path)
    assert reading.problems == [] and [sample.mask for sample in reading.samples] == [masks]


def test_a_photo_of_a_mask_is_not_a_mask_file(tmp_path):
    reading = read_set("segmentation", write_set("COCO", tmp_path, [("gas_mask.jpg", *OUTLINED[0][1:])]), "all")
    assert [found.code for found in reading.problems] == ["masks_drawn"]


@pytest.mark.parametrize("kind", WRITERS)
def test_outlines_of_several_classes_need_pan_classes(tmp_path, kind):
    """YOLO's classes are numbers in the order of their names; the other formats have the names."""
    root = write_set(kind, tmp_path, OUTLINED)
    unclear = read_set("segmentation", root)
    assert "pan (1 outlines), wok (1 outlines)" in reason(unclear, "pan_unclear")
    assert severities(unclear) == {"error", "fixed"}
    wok = read_set("segmentation", root, ("wok",))
    assert [found.code for found in wok.problems] == ["masks_drawn"]
    assert [len(sample.outlines.polygons) for sample in wok.samples] == [1, 0]
    mask, _ = draw_mask(wok.samples[0].outlines, PICTURE, "x")
    assert mask[:9, :8].any() and not mask[9:].any()
    unknown = read_set("segmentation", root, ("wok", "woks"))
    assert "names woks, which no label has; found: pan" in reason(unknown, "pan_unknown")


def test_segmentation_without_labels_reports_each_image(tmp_path):
    touch(tmp_path, ["a.jpg", "b.jpg"])
    reading = read_set("segmentation", tmp_path)
    assert codes(reading) == [("mask_missing", "images/a.jpg"), ("mask_missing", "images/b.jpg")]


def test_classification_has_class_folders(tmp_path):
    for name in ("raw/a.jpg", "raw/b.jpg", "burnt/a.jpg", "burnt/b.jpg"):
        touch(tmp_path, [name])
    reading = read_set("classification", tmp_path)
    assert reading.problems == [] and reading.classes == ["burnt", "raw"]


@pytest.mark.parametrize("kind", WRITERS)
def test_annotation_files_that_are_links_out_of_the_set(tmp_path, kind):
    root = write_set(kind, tmp_path / "set", IMAGES[:1])
    file = next(path for path in root.rglob("*") if path.suffix in (".json", ".xml", ".txt"))
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    assert "link_escapes" in {found.code for found in read_set("detection", root).problems}


@pytest.mark.parametrize("kind", ["COCO", "CVAT"])
def test_a_listed_image_that_is_a_link_out_of_the_set(tmp_path, kind):
    root = write_set(kind, tmp_path / "set", IMAGES)
    (root / "images" / "a.jpg").rename(tmp_path / "elsewhere.jpg")
    (root / "images" / "a.jpg").symlink_to(tmp_path / "elsewhere.jpg")
    reading = read_set("detection", root)
    assert [(found.code, found.file) for found in reading.problems] == [("link_escapes", "images/a.jpg")]
    assert len(reading.samples) == 2


@pytest.mark.parametrize("kind", ["COCO", "CVAT"])
@pytest.mark.parametrize("name", ["../a.jpg", "/etc/a.jpg", "C:\\a.jpg", "..\\a.jpg"])
def test_names_that_leave_the_set(tmp_path, kind, name):
    touch(tmp_path, ["b.jpg"])
    WRITERS[kind](tmp_path, [(name, (40, 30), [("pot", (1, 2, 3, 4))]), ("b.jpg", (40, 30), [])])
    reading = read_set("detection", tmp_path)
    assert [found.code for found in reading.problems] == ["path_escapes"] and len(reading.samples) == 1


@pytest.mark.parametrize("kind", ["COCO", "CVAT"])
@pytest.mark.parametrize("name", ["../../media/upload/1/a.jpg", "/data/local-files/?d=pics/%61.jpg", "C:\\pics\\a.jpg"])
def test_escaping_name_suggests_an_image_but_does_not_use_it(tmp_path, kind, name):
    """Exports of Label Studio name the place that the image had on its server."""
    touch(tmp_path, ["a.jpg", "b.jpg"])
    WRITERS[kind](tmp_path, [(name, (40, 30), [("pot", (1, 2, 3, 4))]), ("b.jpg", (40, 30), [])])
    reading = read_set("detection", tmp_path)
    assert reason(reading, "path_escapes") == f"the file name {name!r} leaves the folder; there is images/a.jpg"
    assert [sample.file for sample in reading.samples] == ["images/b.jpg"]


@pytest.mark.parametrize("kind", WRITERS)
def test_names_in_another_unicode_form(tmp_path, kind):
    """Written on macOS, read on Linux: é is one letter or two."""
    touch(tmp_path, ["cafe\u0301.jpg"])
    WRITERS[kind](tmp_path, [("caf\u00e9.jpg", (40, 30), [("pot", (1.0, 2.0, 3.0, 4.0))])])
    reading = read_set("detection", tmp_path)
    assert [found.severity for found in reading.problems] == []
    assert [sample.file for sample in reading.samples] == ["images/cafe\u0301.jpg"]


HOSTILE_XML = {
    "laughs": '<!DOCTYPE a [<!ENTITY a "ha"><!ENTITY b "'
    + "&a;" * 50
    + '">'
    + "".join(f'<!ENTITY c{n} "{f"&c{n - 1};" * 50 if n else "&b;" * 50}">' for n in range(9))
    + "]><annotation>&c8;</annotation>",
    "file": '<!DOCTYPE a [<!ENTITY x SYSTEM "file://FILE">]><annotation><filename>&x;</filename></annotation>',
    "parameter": '<!DOCTYPE a [<!ENTITY % x SYSTEM "file://FILE"> %x;]><annotation></annotation>',
    "deep": "<annotation>" * 1000 + "</annotation>" * 1000,
    "no xml": "{}",
    "empty": "",
    "encoding": '<?xml version="1.0" encoding="klingon"?><annotation/>',
}


@pytest.mark.parametrize("content", HOSTILE_XML.values(), ids=HOSTILE_XML)
def test_hostile_xml_is_refused_at_once(tmp_path, content):
    write_set("VOC", tmp_path, IMAGES)
    write_text(tmp_path / "README.md", "b.PNG")
    write_text(tmp_path / "Annotations" / "a.xml", content.replace("FILE", str(tmp_path / "README.md")))
    before = time.perf_counter()
    reading = read_set("detection", tmp_path)
    assert time.perf_counter() - before < 5
    assert ("annotations_broken", "Annotations/a.xml") in codes(reading)
    assert [sample.name for sample in reading.samples] == ["b.PNG", "c.webp"]


def test_an_external_dtd_is_not_fetched(tmp_path):
    write_set("VOC", tmp_path, IMAGES[:1])
    path = tmp_path / "Annotations" / "a.xml"
    path.write_text('<!DOCTYPE annotation SYSTEM "file:///dev/zero">' + path.read_text())
    assert read_set("detection", tmp_path).problems == []


# Values in a file where something else is expected.
ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**400), 10**400) | st.integers(-5, 5),
    st.floats(),
    st.text(max_size=5) | st.sampled_from(["", "\ud800", "0", "nan", "-1e999"]),
    st.lists(st.one_of(st.none(), st.integers(-3, 3), st.floats(), st.lists(st.floats(), max_size=8)), max_size=8),
    st.dictionaries(st.sampled_from(["size", "counts", "a"]), st.one_of(st.lists(st.integers()), st.text(max_size=4))),
)
TASKS = st.sampled_from(["detection", "segmentation"])


def use(reading):
    """Do the next step of prepare."""
    for found in reading.problems:
        f"{found.file} {found.reason}".encode()
    for sample in reading.samples:
        sample.file.encode()
        if sample.boxes is not None:
            place_boxes(sample.boxes, PICTURE, sample.file, zero_area="drop")
            assert all(0 <= label < len(reading.classes) for label in sample.boxes.labels)
        if sample.outlines is not None:
            mask, _ = draw_mask(sample.outlines, PICTURE, sample.file)
            assert mask is None or (mask.shape, mask.dtype, mask.max() <= 1) == ((30, 40), np.uint8, True)


def places(value, path=()):
    yield path
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in entries:
        yield from places(inner, (*path, key))


def spoil(data, value):
    """The value with something odd in one or two of its places."""
    value = copy.deepcopy(value)
    for _ in range(data.draw(st.integers(1, 2))):
        *path, last = data.draw(st.sampled_from([path for path in places(value) if path]))
        inner = value
        for key in path:
            inner = inner[key]
        inner[last] = data.draw(ODD)
    return value


LABELME_DOCUMENT = {
    "imagePath": "a.jpg",
    "imageWidth": 40,
    "imageHeight": 30,
    "shapes": [
        {"label": "pan", "points": [[1, 1], [9, 1], [9, 9]], "shape_type": "polygon", "group_id": 1},
        {"label": "pan", "points": [[11, 1], [19, 1], [19, 9]], "shape_type": "polygon", "group_id": 1},
        {"label": "pan", "points": [[1, 1], [9, 9]], "shape_type": "circle"},
        {"label": "pan", "points": [[1, 1], [9, 9]], "shape_type": "rectangle"},
        {"label": "pan", "points": [[1, 1], [2, 2]], "shape_type": "mask", "mask": "iVBORw0KGgo="},
    ],
}


@given(data=st.data(), task=TASKS, name=st.sampled_from(["a.json", "_annotations.coco.json", "x.json"]))
@settings(max_examples=200, deadline=None)
def test_any_labelme_file_is_read_or_reported(tmp_path_factory, data, task, name):
    root = tmp_path_factory.mktemp("json")
    touch(root, ["a.jpg"])
    documents = st.just(LABELME_DOCUMENT).map(lambda value: spoil(data, value))
    write_json(root / "images" / name, data.draw(documents | ODD))
    use(read_set(task, root))


VOC_DOCUMENT = """<annotation><filename>a.jpg</filename><size><width>40</width><height>30</height></size>
<object><name>pan</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></object>
<object><name>pan</name><polygon><x1>1</x1><y1>1</y1><x2>9</x2><y2>1</y2><x3>9</x3><y3>9</y3></polygon></object>
</annotation>"""
CVAT_DOCUMENT = """<annotations><meta><task><labels><label><name>pan</name></label></labels></task></meta>
<image id="0" name="a.jpg" width="40" height="30">
<box label="pan" xtl="1" ytl="2" xbr="9" ybr="9" rotation="30"/><polygon label="pan" points="1,1;9,1;9,9"/>
<ellipse label="pan" cx="9" cy="9" rx="3" ry="2"/><mask label="pan" rle="1, 3" left="2" top="3" width="2" height="2"/>
</image></annotations>"""
TEXT = ["", "a.jpg", "pan", "-3", "0", "nan", "inf", "1e308", "-1e999", "99999999999", "1,2;x", "2, 2", "1_0", "²"]


def spoil_xml(data, text):
    """A document in which elements are lost, doubled, or have odd texts or attributes."""
    root = ElementTree.fromstring(text)  # noqa: S314 - the documents above
    for _ in range(data.draw(st.integers(1, 3))):
        parents = [node for node in root.iter() if len(node)]
        if not parents:
            break
        parent = data.draw(st.sampled_from(parents))
        place = data.draw(st.integers(0, len(parent) - 1))
        node, value = parent[place], data.draw(st.sampled_from(TEXT))
        match data.draw(st.sampled_from(["text", "attribute", "lose", "double", "move"])):
            case "text":
                node.text = value
            case "attribute" if node.attrib:
                node.set(data.draw(st.sampled_from(sorted(node.attrib))), value)
            case "lose":
                parent.remove(node)
            case "double":
                parent.append(copy.deepcopy(node))
            case _:
                root.append(copy.deepcopy(node))
    return ElementTree.tostring(root, encoding="unicode")


@given(data=st.data(), task=TASKS)
@settings(max_examples=200, deadline=None)
def test_any_xml_is_read_or_reported(tmp_path_factory, data, task):
    root = tmp_path_factory.mktemp("xml")
    touch(root, ["a.jpg"])
    write_text(root / "images" / "a.xml", spoil_xml(data, data.draw(st.sampled_from([VOC_DOCUMENT, CVAT_DOCUMENT]))))
    use(read_set(task, root))


LINES = st.lists(
    st.sampled_from(["0 0.5 0.5 0.2 0.2", "0 0.1 0.1 0.9 0.1 0.9 0.9", "names:", "- pan", "[", "&a *a", "1"])
)


@given(
    task=TASKS,
    name=st.sampled_from(
        ["labels/a.txt", "images/a.txt", "data.yaml", "classes.txt", "images/a.json", "annotations.xml"]
    ),
    content=st.binary(max_size=80) | st.text(max_size=80).map(str.encode) | LINES.map("\n".join).map(str.encode),
)
@settings(max_examples=200, deadline=None)
def test_any_text_is_read_or_reported(tmp_path_factory, task, name, content):
    root = write_set("YOLO", tmp_path_factory.mktemp("text"), OUTLINED)
    (root / name).write_bytes(content)
    use(read_set(task, root))
