import json
import zipfile

import pytest
from PIL import Image

from panvision.cli.main import main
from panvision.cli.prelabel import FORMATS
from panvision.core.tasks import DATASETS
from panvision.inference.predictor import Predictor
from panvision.labelling.writers import WRITERS
from panvision.prepare.formats.parsing import read_xml
from panvision.prepare.formats.readers import read_set
from tests.cli.shown import json_keys
from tests.tiny import PartBackend, picture, write_onnx


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(write_onnx(tmp_path_factory.mktemp("model") / "m.onnx"))


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "my photos"
    (folder / "sub").mkdir(parents=True)
    for name in ("a b.png", "ä.jpg", "sub/a b.png"):
        Image.fromarray(picture(colour=(0, 90, 0) if name == "ä.jpg" else (0, 0, 90))).save(folder / name)
    return folder


@pytest.fixture
def run(model, photos, tmp_path, capsys):
    def runner(*arguments):
        code = main(["prelabel", model, str(photos), "--recursive", "--into", str(tmp_path / "out"), *arguments])
        text = capsys.readouterr()
        return code, text.out.splitlines(), text.err.splitlines()

    return runner


def test_formats_are_those_of_the_writers():
    assert tuple(WRITERS) == FORMATS


@pytest.mark.parametrize("name", FORMATS)
def test_each_format_is_a_dataset(run, tmp_path, name):
    code, out, err = run("--to", name)
    assert code == 0 and not err and max(map(len, out)) <= 80 + len(str(tmp_path))
    tasks = {"masks": ["segmentation"], "folders": ["classification"]}.get(name, list(DATASETS))
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert written == sorted([*tasks, "prelabel.jsonl"])
    for task in tasks:
        reading = read_set(task, tmp_path / "out" / task)
        assert not [found for found in reading.problems if found.severity == "error"]
        assert sorted(sample.name for sample in reading.samples) == ["a b.png", "sub_a b.png", "ä.jpg"]
    if "classification" in tasks:
        assert {sample.name: sample.label for sample in reading.samples}["ä.jpg"] == "fresh"


def test_the_pixel_error_is_stated(run):
    _, out, _ = run("--to", "coco")
    assert out[0].startswith("3 images, labels in ")
    assert out[1:] == [
        "boxes: 3 lid",
        "masks: 3 polygons, at most 0.0 pixels off; IoU 1.0000, at least 1.0000",
        "classes: 1 fresh, 2 frozen",
    ]
    assert len(run("--to", "folders")[1]) == 2


def test_small_parts_are_left_out_and_counted(run, photos):
    for path in photos.rglob("*.*"):
        speck = picture()
        speck[4:8, 4:8] = 255
        Image.fromarray(speck).save(path, quality=100)
    _, out, _ = run("--to", "coco", "--least_area", "0.01")
    assert out[2].startswith("masks: 3 polygons") and "at least 0.99" in out[2]
    assert out[3] == "3 small parts and holes of masks left out; the IoU counts them as missed"
    assert len(out[3]) <= 80


def test_a_later_format_replaces_an_earlier_one(run, tmp_path):
    assert run("--to", "coco", "--to", "masks", "--to", "labelme", "--to", "masks")[0] == 0
    assert sorted(path.name for path in (tmp_path / "out/segmentation").iterdir()) == ["images", "masks"]
    assert (tmp_path / "out/detection/images/ä.json").is_file()


def document(path):
    root, fault = read_xml(path, path.parent)
    assert not fault
    return root


def test_confidence_is_an_attribute(run, tmp_path):
    run("--to", "cvat")
    root = document(tmp_path / "out/detection/annotations.xml")
    values = [float(each.text) for each in root.iterfind("image/box/attribute[@name='confidence']")]
    assert len(values) == 3 and all(0.5 < value < 1 for value in values)
    root = document(tmp_path / "out/classification/annotations.xml")
    assert {tag.get("label") for tag in root.iterfind("image/tag")} == {"fresh", "frozen"}


def test_corrected_files_are_left_and_named(run, tmp_path):
    run("--to", "labelme")
    corrected = tmp_path / "out/detection/images/ä.json"
    corrected.write_text("{}", encoding="utf-8")
    code, _, err = run("--to", "labelme", "--thresholds", str(thresholds(tmp_path, lid=0.99)))
    assert code == 3 and corrected.read_text(encoding="utf-8") == "{}"
    assert err == [f"panvision prelabel: not replaced, because a person changed it: {corrected}"]
    assert not json.loads((tmp_path / "out/detection/images/a b.json").read_text(encoding="utf-8"))["shapes"]


def thresholds(folder, **values):
    path = folder / "detection.json"
    path.write_text(json.dumps({"threshold": {**values, "stirrer": None}}), encoding="utf-8")
    return path


def test_other_photos_stop_before_anything_is_written(run, photos, tmp_path):
    run("--to", "yolo")
    Image.fromarray(picture(colour=(90, 0, 0))).save(photos / "new.png")
    Image.fromarray(picture(colour=(90, 0, 0))).save(photos / "sub/a b.png")
    code, _, err = run("--to", "yolo", "--batch_size", "1")
    assert code == 1 and len(err) == 1 and "sub_a b.png is another image of this name" in err[0]
    assert not list((tmp_path / "out").rglob("new.png"))


def test_zips_hold_images_and_labels(run, tmp_path):
    assert run("--to", "cvat", "--zip")[0] == 0
    with zipfile.ZipFile(tmp_path / "out/detection.zip") as archive:
        assert archive.namelist() == ["annotations.xml", "images/a b.png", "images/sub_a b.png", "images/ä.jpg"]
    before = (tmp_path / "out/detection.zip").read_bytes()
    assert run("--to", "cvat", "--zip")[0] == 0 and (tmp_path / "out/detection.zip").read_bytes() == before


def test_json_has_the_documented_keys(run):
    code, out, _ = run("--to", "coco", "--json")
    (line,) = out
    assert code == 0 and json_keys("prelabel") == {*json.loads(line), "and"}


def test_a_broken_image_is_left_out(run, photos):
    (photos / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    code, out, err = run("--to", "yolo")
    assert code == 3 and out[0].startswith("3 images") and "left out: broken.jpg: " in err[0]


def test_without_readable_images_nothing_is_written(run, photos, tmp_path):
    for path in photos.rglob("*.*"):
        path.write_bytes(b"\xff\xd8\xff")
    code, out, _ = run("--to", "coco", "--zip")
    assert code == 3 and out[0].startswith("0 images") and not (tmp_path / "out").exists()


def test_models_vote(run, model):
    code, out, _ = run("--to", "coco", "--vote", model, "--vote", model)
    assert code == 0 and out[1] == "boxes: 3 lid"


def test_a_format_that_holds_nothing_of_the_model(run, monkeypatch):
    monkeypatch.setattr(Predictor, "load", lambda path, device, **_: Predictor(PartBackend("detection")))
    code, _, err = run("--to", "masks")
    message = "masks: holds labels of segmentation, not detection; choose coco, yolo, cvat, labelme, voc"
    assert code == 1 and err == [f"panvision prelabel: {message}"]


def test_thresholds_of_another_class_are_one_line(run, tmp_path):
    path = thresholds(tmp_path, spoon=0.5)
    code, _, err = run("--to", "coco", "--thresholds", str(path))
    message = f"{path}: 'spoon' is not a box class of the model; expected lid, stirrer"
    assert code == 2 and err == [f"panvision prelabel: {message}"]


def test_other_outputs_are_not_labelled_again(run, model, photos, capsys):
    assert main(["prelabel", model, str(photos), "--to", "masks", "--into", str(photos / "earlier")]) == 3
    capsys.readouterr()
    code, out, err = run("--to", "yolo")
    assert code == 3 and out[0].startswith("3 images") and len(err) == 1
    assert "left out: earlier: has copies of images, because prelabel.jsonl is in it" in err[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "Missing option '--to'. Choose from: coco, yolo, cvat, labelme, voc, masks, folders."),
        (["--to", "coco", "--tolerance", "nan"], "Invalid value for '--tolerance': Not a finite number."),
        (["--to", "coco", "--tolerance", "inf"], "Invalid value for '--tolerance': Not a finite number."),
    ],
)
def test_wrong_usage_is_one_line(run, tmp_path, options, message):
    code, out, err = run(*options)
    assert code == 2 and not out and err == [f"panvision prelabel: {message} See `panvision prelabel --help`."]
    assert not (tmp_path / "out").exists()


def test_a_file_as_output_folder_is_one_line(run, tmp_path):
    (tmp_path / "out").write_bytes(b"")
    code, _, err = run("--to", "coco")
    message = "file exists; name a folder, or a name that is not taken"
    assert code == 1 and err == [f"panvision prelabel: {tmp_path}/out: {message}"]


@pytest.mark.parametrize("content", ["[", "[]", "{}", '{"lid": 2}', '{"threshold": "high"}'])
def test_unusable_thresholds_are_one_line(run, tmp_path, content):
    (tmp_path / "t.json").write_text(content, encoding="utf-8")
    code, _, err = run("--to", "coco", "--thresholds", str(tmp_path / "t.json"))
    assert code == 2 and len(err) == 1 and "metrics/detection.json" in err[0]
