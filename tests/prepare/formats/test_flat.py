"""Classes of images in one folder: tables and flags."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from panvision.prepare.formats.readers import read_set
from tests.prepare.label_formats import codes, reason, touch, write_json, write_text

LABELS = {"a.jpg": "raw", "b.png": "burnt", "c.jpg": "raw", "d.jpg": "burnt"}
CLASSES = "filename, burnt, raw\n" + "".join(
    f"{name}, {int(label == 'burnt')}, {int(label == 'raw')}\n" for name, label in LABELS.items()
)


def rows(header, form, delimiter=","):
    return delimiter.join(header) + "\n" + "".join(delimiter.join(form(*row)) + "\n" for row in LABELS.items())


TABLES = {
    "one column per class": ("images/_classes.csv", CLASSES),
    "above the images": ("labels.csv", rows(("filename", "label"), lambda file, label: (file, label))),
    "stems": ("labels.csv", rows(("id", "breed", "class"), lambda file, label: (file[:1], "x", label))),
    "semicolons and folders": (
        "train.csv",
        rows(("Image Path", "Class Name"), lambda file, label: (f"images/{file}", label), ";"),
    ),
    "no header": ("images/labels.csv", "".join(f"{file},{label}\n" for file, label in LABELS.items())),
    "Windows": ("labels.csv", "\ufefffile,label\r\n" + "".join(f"images\\{f},{x}\r\n" for f, x in LABELS.items())),
}


def read(root):
    return read_set("classification", root)


@pytest.mark.parametrize("kind", TABLES)
def test_a_table_gives_the_classes(tmp_path, kind):
    touch(tmp_path, LABELS)
    file, content = TABLES[kind]
    write_text(tmp_path / file, content)
    reading = read(tmp_path)
    assert reading.problems == [] and reading.classes == ["burnt", "raw"]
    assert {sample.file: sample.label for sample in reading.samples} == {f"images/{k}": v for k, v in LABELS.items()}


def test_roboflows_folders_each_have_a_table(tmp_path):
    for split, name in (("train", "a.jpg"), ("train", "b.jpg"), ("valid", "c.jpg"), ("test", "d.jpg")):
        write_text(tmp_path / split / name, "")
    write_text(tmp_path / "train/_classes.csv", "filename, burnt, raw\na.jpg, 1, 0\nb.jpg, 0, 1")
    write_text(tmp_path / "valid/_classes.csv", "filename, burnt, raw\nc.jpg, 1, 0")
    write_text(tmp_path / "test/_classes.csv", "filename, burnt, raw\nd.jpg, 0, 1")
    reading = read(tmp_path)
    assert reading.problems == []
    assert [(sample.split, sample.label) for sample in reading.samples] == [
        ("test", "raw"), ("train", "burnt"), ("train", "raw"), ("val", "burnt")]  # fmt: skip


def test_a_table_may_state_the_split(tmp_path):
    touch(tmp_path, ["a.jpg", "b.jpg"])
    write_text(tmp_path / "labels.csv", "file,split,label\na.jpg,train,raw\nb.jpg,validation,raw\n")
    assert [sample.split for sample in read(tmp_path).samples] == ["train", "val"]


@pytest.mark.parametrize("folder", ["images", "json"])
def test_labelmes_flags_give_the_classes(tmp_path, folder):
    touch(tmp_path, LABELS)
    for name, label in LABELS.items():
        flags = {other: other == label for other in ("raw", "burnt")}
        write_json(tmp_path / folder / f"{name[:1]}.json", {"flags": flags, "shapes": [], "imagePath": name})
    reading = read(tmp_path)
    assert reading.problems == []
    assert [sample.label for sample in reading.samples] == [*LABELS.values()]


def test_rows_that_cannot_be_used(tmp_path):
    touch(tmp_path, ["a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg"])
    table = ["filename,burnt,raw", "a.jpg,1,0", "b.jpg,1,1", "c.jpg,0,0", "gone.jpg,0,1", "d.jpg,0,1"]
    write_text(tmp_path / "labels.csv", "\n".join(table))
    reading = read(tmp_path)
    assert [sample.file for sample in reading.samples] == ["images/a.jpg", "images/d.jpg"]
    assert "b.jpg" in reason(reading, "annotation_broken") and "gone.jpg" in reason(reading, "image_missing")
    assert ("image_unlisted", "images/e.jpg") in codes(reading)
    assert reason(reading, "image_without_class") == "gives no class to 1 images"


def test_two_rows_of_one_image(tmp_path):
    touch(tmp_path, ["a.jpg", "b.jpg"])
    write_text(tmp_path / "labels.csv", "file,label\na.jpg,raw\nimages/a.jpg,raw\nb.jpg,raw\nb,burnt\n")
    reading = read(tmp_path)
    assert [sample.file for sample in reading.samples] == ["images/a.jpg"]
    assert "raw, burnt" in reason(reading, "annotation_broken")


def test_placeholders_in_a_table_are_left_out(tmp_path):
    touch(tmp_path, ["a.jpg", "b.jpg", "c.jpg"])
    write_text(tmp_path / "labels.csv", "file,label\na.jpg,raw\nb.jpg,raw\nc.jpg,Unlabeled\n")
    reading = read(tmp_path)
    assert reading.classes == ["raw"] and [code for code, _ in codes(reading)] == ["class_placeholder"]


def test_class_folders_come_before_a_table(tmp_path):
    for name in ("raw/a.jpg", "raw/b.jpg", "burnt/c.jpg", "burnt/d.jpg", "e.jpg"):
        touch(tmp_path, [name])
    write_text(tmp_path / "labels.csv", "file,label\ne.jpg,raw\n")
    assert codes(read(tmp_path)) == [("image_without_class", "images/e.jpg")]


@pytest.mark.parametrize(
    "content",
    [
        "",
        "filename,width,height,class,xmin\na.jpg,4,3,pot,1\n",
        "a,b\n1,2\n",
        "file\na.jpg\n",
        'file,label\n"' + "x" * 200_000,
    ],
)
def test_tables_without_classes_are_not_read(tmp_path, content):
    touch(tmp_path, ["a.jpg"])
    write_text(tmp_path / "labels.csv", content)
    assert codes(read(tmp_path)) == [("image_without_class", "images/a.jpg")]


def test_flags_without_a_true_one(tmp_path):
    touch(tmp_path, ["a.jpg"])
    write_text(tmp_path / "images/a.json", json.dumps({"flags": {"raw": False, "burnt": 1}, "shapes": []}))
    assert ("image_without_class", "images") in codes(read(tmp_path))


CELLS = st.sampled_from([*'\n\t ,;"/', "file", "label", "a.jpg", "..", "1", "0", "\0", "xmin", "split"])


@given(content=st.lists(CELLS).map("".join) | st.text())
@settings(max_examples=150, deadline=None)
def test_any_table_is_read_or_passed_over(tmp_path_factory, content):
    root = tmp_path_factory.mktemp("tables")
    touch(root, ["a.jpg", "b.jpg"])
    (root / "labels.csv").write_text(content, encoding="utf-8", errors="surrogatepass")
    reading = read(root)
    assert {sample.file for sample in reading.samples} <= {"images/a.jpg", "images/b.jpg"}
    assert len(reading.samples) == len({sample.file for sample in reading.samples})
