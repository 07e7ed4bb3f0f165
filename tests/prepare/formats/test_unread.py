"""Known formats that are not read are named, with the export to choose instead."""

import json

import pytest

from panvision.prepare.formats.readers import read_set
from tests.prepare.label_formats import codes, reason, touch, write_text

VIA = {"a.jpg9": {"filename": "a.jpg", "size": 9, "regions": [{"shape_attributes": {"name": "rect"}}]}}
FILES = {
    "VIA project": ("via_region_data.json", VIA),
    "VIA project, whole": ("via.json", {"_via_settings": {}, "_via_img_metadata": VIA}),
    "VoTT": ("vott.json", {"asset": {"name": "a.jpg"}, "regions": []}),
    "VoTT, a project": ("a.vott", {"name": "x"}),
    "CreateML": (
        "_annotations.createml.json",
        [{"image": "a.jpg", "annotations": [{"label": "pan", "coordinates": {"x": 1, "y": 1}}]}],
    ),
    "Darwin (V7)": ("a.json", {"version": "2.0", "item": {"name": "a.jpg"}, "annotations": []}),
    "Darwin (V7), old": ("a.json", {"image": {"filename": "a.jpg"}, "annotations": []}),
    "Supervisely": ("ann/a.jpg.json", {"size": {}, "tags": [], "objects": [{"classTitle": "pan"}]}),
    "Datumaro": ("annotations/default.json", {"info": {}, "categories": {}, "items": []}),
    "Label Studio JSON": ("project.json", [{"id": 1, "data": {"image": "a.jpg"}, "annotations": []}]),
    "Label Studio JSON, short": ("project.json", [{"id": 1, "image": "a.jpg", "annotation_id": 3}]),
    "Labelbox": ("export.ndjson", {"data_row": {"id": "x"}, "projects": {}}),
    "SageMaker Ground Truth": ("output.manifest", {"source-ref": "s3://a/a.jpg"}),
    "TensorFlow CSV": ("_annotations.csv", "filename,width,height,class,xmin,ymin,xmax,ymax\na.jpg,9,9,pan,1,1,5,5\n"),
    "TensorFlow CSV, no header": ("boxes.csv", "a.jpg,1,1,5,5,pan\nb.jpg,2,2,7.5,8,pan\n"),
    "TFRecord": ("pans.tfrecord", "x"),
    "Open Images CSV": ("b.csv", "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax\n"),
    "VIA CSV": ("via.csv", "#filename,file_size,file_attributes,region_count,region_id,region_shape_attributes\n"),
}


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("task", ["detection", "segmentation"])
def test_a_known_format_is_named_with_its_remedy(tmp_path, kind, task):
    touch(tmp_path, ["a.jpg"])
    file, content = FILES[kind]
    write_text(tmp_path / file, content if isinstance(content, str) else json.dumps(content))
    reading = read_set(task, tmp_path)
    (found,) = [found for found in reading.problems if found.severity == "error"]
    assert (found.code, found.file) == ("annotations_unread", file) and reading.samples == []
    assert found.reason.startswith(f"is {kind.partition(',')[0]}, which is not read; export as ")


@pytest.mark.parametrize(("file", "content"), [("a.json", "[1]"), ("labels.xml", "<tree/>"), ("b.json", '{"x": 1}')])
def test_a_file_of_an_unknown_format_is_named(tmp_path, file, content):
    touch(tmp_path, ["a.jpg"])
    write_text(tmp_path / file, content)
    reading = read_set("detection", tmp_path)
    assert reason(reading, "annotations_missing").endswith(f"; {file} has another format, or no labels")


@pytest.mark.parametrize("content", ["", "a,b\n", '{"x": 1}', "{", '"' + "x" * 200_000, "a.jpg,1,1,5,pan,5"])
def test_other_tables_are_not_named(tmp_path, content):
    touch(tmp_path, ["a.jpg"])
    write_text(tmp_path / "notes.csv", content)
    assert [code for code, _ in codes(read_set("detection", tmp_path))] == ["annotations_missing"]
