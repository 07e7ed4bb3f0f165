import pytest

from panvision.prepare.formats.readers import read_set
from tests.prepare.label_formats import codes, reason, touch, write_text

LINE = "0 0.5 0.5 0.25 0.5"
BOX = (0.375, 0.25, 0.25, 0.5)


def yolo_set(root, labels=None, names="names: [pot, lid]", file="data.yaml"):
    labels = {"a": LINE, "b": "1 0.5 0.5 0.1 0.1"} if labels is None else labels
    touch(root, [f"{stem}.jpg" for stem in labels])
    for stem, content in labels.items():
        write_text(root / "labels" / f"{stem}.txt", content)
    if names:
        write_text(root / file, names)
    return root


def found(reading):
    return [(sample.boxes.xywh, sample.boxes.labels) for sample in reading.samples]


def test_boxes_are_fractions_of_the_picture(tmp_path):
    reading = read_set("detection", yolo_set(tmp_path))
    assert reading.problems == [] and reading.classes == ["pot", "lid"]
    assert found(reading)[0] == ((BOX,), (0,))
    labels = reading.samples[0].boxes
    assert labels.relative and labels.size is None and labels.ids == ("in line 1",)


@pytest.mark.parametrize("content", ["", "\n \n", "\ufeff"])
def test_an_empty_file_says_that_the_picture_shows_nothing(tmp_path, content):
    reading = read_set("detection", yolo_set(tmp_path, {"a": f"{LINE}\n1 0.5 0.5 0.1 0.1", "b": content}))
    assert reading.problems == [] and found(reading)[1] == ((), ())


def test_a_missing_file_does_not(tmp_path):
    root = yolo_set(tmp_path)
    touch(root, ["c.jpg"])
    reading = read_set("detection", root)
    assert codes(reading) == [("image_unlisted", "images/c.jpg")] and len(reading.samples) == 2


@pytest.mark.parametrize("line", ["\ufeff0 .5 .5 .25 .5", "0\t0.5  0.5 0.25 0.5 \r", "0.0 5e-1 0.5 0.25 0.5"])
def test_ways_to_write_a_line(tmp_path, line):
    assert found(read_set("detection", yolo_set(tmp_path, {"a": line})))[0] == ((BOX,), (0,))


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("0 0.5 0.5 0.25", "annotation_broken"),
        ("0 0.5 0.5 0.25 0.5 0.9", "annotation_broken"),
        ("pot 0.5 0.5 0.25 0.5", "annotation_broken"),
        ("0.5 0.5 0.5 0.25 0.5", "annotation_broken"),
        ("0 0.5 0.5 0.25 x", "annotation_broken"),
        ("0 0.5 nan 0.25 0.5", "annotation_broken"),
        ("0,0.5,0.5,0.25,0.5", "annotation_broken"),
        ("0 320 240 100 80", "boxes_other_form"),
        ("2 0.5 0.5 0.25 0.5", "annotation_unknown_category"),
        ("-1 0.5 0.5 0.25 0.5", "annotation_unknown_category"),
    ],
)
def test_a_line_that_cannot_be_read_is_named_by_its_number(tmp_path, line, code):
    reading = read_set("detection", yolo_set(tmp_path, {"a": f"{LINE}\n\n{line}\n1 0.5 0.5 0.1 0.1"}))
    assert codes(reading) == [(code, "labels/a.txt")] and "line 3" in reason(reading, code)
    assert found(reading)[0][1] == (0, 1)


def test_text_in_another_encoding(tmp_path):
    root = yolo_set(tmp_path)
    (root / "labels" / "a.txt").write_bytes(b"0 0.5 \xff")
    assert codes(read_set("detection", root)) == [("annotations_broken", "labels/a.txt"), ("class_unused", "data.yaml")]


@pytest.mark.parametrize(
    ("file", "names"),
    [
        ("data.yaml", "nc: 2\nnames: ['pot', 'lid']"),
        ("data.yaml", "train: ../train/images\nnames:\n  - pot\n  - lid\n"),
        ("data.yml", "names:\n  0: pot\n  1: lid\n"),
        ("dataset.yaml", "names: {1: lid, 0: pot}"),
        ("classes.txt", "pot\r\nlid\r\n\r\n"),
        ("obj.names", "pot\nlid"),
        ("labels.txt", "pot\nlid"),
        ("labels/names.txt", "pot\nlid"),
        ("pans.names", "pot\nlid"),
        ("labels/classes.txt", "pot\nlid\n"),
        ("images/_darknet.labels", "pot\nlid"),
    ],
)
def test_places_of_the_class_names(tmp_path, file, names):
    reading = read_set("detection", yolo_set(tmp_path, names=names, file=file))
    assert reading.problems == [] and reading.classes == ["pot", "lid"] and found(reading)[1][1] == (1,)


@pytest.mark.parametrize("name", ["no", "on", "null", "~", "1e3", "2024-01-01", "0x10", "!!x", "a: b", "Löffel"])
def test_class_names_that_yaml_takes_for_something_else(tmp_path, name):
    plain = name if name not in ("!!x", "a: b") else f"'{name}'"
    reading = read_set("detection", yolo_set(tmp_path, {"a": LINE}, f"names:\n- {plain}\n"))
    assert reading.classes == [name] and reading.problems == []


def test_numbers_need_not_be_contiguous(tmp_path):
    reading = read_set("detection", yolo_set(tmp_path, {"a": "7 0.5 0.5 0.25 0.5"}, "names: {7: lid, 3: pot}"))
    assert reading.classes == ["pot", "lid"] and found(reading)[0] == ((BOX,), (1,))
    assert codes(reading) == [("class_unused", "data.yaml")]


@pytest.mark.parametrize(
    ("names", "code"),
    [
        ("", "class_names_missing"),
        ("path: x", "class_names_missing"),
        ("names: pot", "annotations_incomplete"),
        ("names: []", "annotations_incomplete"),
        ("names: [pot, [lid]]", "annotations_incomplete"),
        ("names: [pot, '']", "annotations_incomplete"),
        ('names: [pot, "\\ud800"]', "annotations_incomplete"),
        ("names: {a: pot}", "annotations_incomplete"),
        ("names: {-1: pot}", "annotations_incomplete"),
        ("names: [pot, lid]\nnc: 3", "annotations_incomplete"),
        ("names: [pot, pot]", "category_name_twice"),
        ("names: [pot", "annotations_broken"),
        ("names: &a [*a]", "annotations_broken"),
        ("[" * 1000, "annotations_broken"),
        ("? [a]\n: b", "annotations_broken"),
        ("\0", "annotations_broken"),
    ],
)
def test_class_names_that_cannot_be_used(tmp_path, names, code):
    reading = read_set("detection", yolo_set(tmp_path, names=names))
    assert [problem.code for problem in reading.problems if problem.severity == "error"] == [code]
    assert all(problem.file == "data.yaml" for problem in reading.problems)


def test_masks_need_no_class_names(tmp_path):
    reading = read_set("segmentation", yolo_set(tmp_path, {"a": "5 0.1 0.1 0.9 0.1 0.9 0.9"}, names=""))
    assert codes(reading) == [("masks_drawn", "labels")]
    labels = reading.samples[0].outlines
    assert labels.relative and labels.polygons == ((0.1, 0.1, 0.9, 0.1, 0.9, 0.9),)


def test_two_files_of_names(tmp_path):
    root = yolo_set(tmp_path, file="a.yaml")
    write_text(root / "b.yaml", "names: [lid, pot]")
    assert codes(read_set("detection", root)) == [("annotations_twice", "a.yaml")]
    write_text(root / "data.yaml", "names: [pot, lid]")
    assert read_set("detection", root).classes == ["pot", "lid"]


def test_roboflows_export(tmp_path):
    """The names are above the split folders, each of which has images/ and labels/."""
    for part in ("train", "valid", "test"):
        yolo_set(tmp_path / part, names="")
    write_text(tmp_path / "data.yaml", "names: [pot, lid]\nnc: 2\ntrain: ../train/images\nroboflow: {version: 1}")
    write_text(tmp_path / "README.roboflow.txt", "0 1 2 3 4 5")
    reading = read_set("detection", tmp_path)
    assert reading.problems == [] and reading.classes == ["pot", "lid"]
    assert [sample.split for sample in reading.samples] == ["test", "test", "train", "train", "val", "val"]


def test_parts_that_name_the_classes_in_another_order(tmp_path):
    yolo_set(tmp_path / "train", {"a": LINE})
    yolo_set(tmp_path / "valid", {"a": f"{LINE}\n1 0.5 0.5 0.25 0.5"}, "names: [lid, pot]")
    reading = read_set("detection", tmp_path)
    assert reading.classes == ["pot", "lid"] and [labels for _, labels in found(reading)] == [(0,), (1, 0)]


def test_labels_beside_the_images(tmp_path):
    """Darknet's layout, as CVAT exports it."""
    for stem in ("a", "train"):
        write_text(tmp_path / "obj_train_data" / f"{stem}.jpg", "")
        write_text(tmp_path / "obj_train_data" / f"{stem}.txt", LINE)
    write_text(tmp_path / "obj_train_data" / "notes.txt", "not a label")
    write_text(tmp_path / "train.txt", "data/obj_train_data/a.jpg")
    write_text(tmp_path / "obj.names", "pot\n")
    write_text(tmp_path / "obj.data", "classes = 1")
    reading = read_set("detection", tmp_path)
    assert reading.problems == [] and len(reading.samples) == 2


@pytest.mark.parametrize("file", ["labels/gone.txt", "images/gone.txt"])
def test_a_label_without_an_image(tmp_path, file):
    root = yolo_set(tmp_path)
    write_text(root / file, LINE)
    assert codes(read_set("detection", root)) == [("annotation_file_orphaned", file)]


def test_upper_case_suffixes(tmp_path):
    write_text(tmp_path / "images" / "A.JPG", "")
    write_text(tmp_path / "labels" / "A.TXT", LINE)
    write_text(tmp_path / "classes.txt", "pot")
    assert found(read_set("detection", tmp_path)) == [((BOX,), (0,))]


def test_key_points_after_the_box_are_not_an_outline(tmp_path):
    points = " 0.1 0.1 0.9 0.1"
    names = "names: [pot]\nkpt_shape: [2, 2]"
    assert found(read_set("detection", yolo_set(tmp_path, {"a": LINE + points}, names))) == [((BOX,), (0,))]


def test_an_outline_has_the_box_around_it(tmp_path):
    reading = read_set("detection", yolo_set(tmp_path, {"a": "0 0.25 0.5 0.75 0.5 0.75 1"}, "names: [pot]"))
    assert found(reading) == [(((0.25, 0.5, 0.5, 0.5),), (0,))] and codes(reading) == [("box_from_outline", "labels")]


def test_lines_in_pixels_are_one_error(tmp_path):
    reading = read_set("detection", yolo_set(tmp_path, {"a": "0 320 240 100 80\n" * 3, "b": "0 50 50 20 20"}))
    (found,) = [found for found in reading.problems if found.severity == "error"]
    assert found.code == "boxes_other_form" and found.reason.endswith("and so are 3 more lines")
