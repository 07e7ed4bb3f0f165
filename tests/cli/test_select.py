import csv
import json

import numpy as np
import pytest
from PIL import Image

from panvision.cli.main import main
from panvision.inference.predictor import Predictor
from panvision.labelling.select import COLUMNS
from panvision.monitor.video import VideoFile
from panvision.prepare.formats.readers import read_set
from tests.cli.shown import json_keys
from tests.tiny import PartBackend, picture, write_onnx


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(write_onnx(tmp_path_factory.mktemp("model") / "m.onnx"))


def scene(number):
    """An image unlike those of other numbers."""
    rng = np.random.default_rng(number)
    return rng.integers(0, 255, (6, 8, 3), dtype=np.uint8).repeat(16, 0).repeat(16, 1)


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "my photos"
    folder.mkdir()
    for number in range(6):
        for copy in range(1 + number % 3):
            Image.fromarray(scene(number)).save(folder / f"scene {number}.{copy}.png")
    return folder


@pytest.fixture
def run(model, tmp_path, capsys):
    def runner(images, *arguments):
        code = main(["select", model, str(images), "--into", str(tmp_path / "out"), *map(str, arguments)])
        text = capsys.readouterr()
        return code, text.out.splitlines(), text.err.splitlines()

    return runner


def ranking(tmp_path):
    with (tmp_path / "out/selection.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_each_scene_is_selected_once(run, photos, tmp_path):
    code, out, err = run(photos, "-n", "20")
    assert code == 0 and not err and max(map(len, out[1:])) <= 80
    rows = ranking(tmp_path)
    assert list(rows[0]) == list(COLUMNS) and [row["rank"] for row in rows] == list("123456")
    assert len({row["image"].split(".")[0] for row in rows}) == 6
    assert sorted(int(row["similar"]) for row in rows) == [0, 0, 1, 1, 2, 2]
    assert all(row["source"] == str(photos / row["image"]) and row["reason"] for row in rows)
    assert out[0] == f"6 of 12 images selected, written to {tmp_path}/out:"
    assert out[-1] == "the other 6 have labels or are near-duplicates of these"


def test_the_selection_has_proposed_labels(run, photos, tmp_path):
    assert run(photos, "-n", "3", "--to", "yolo", "--zip")[0] == 0
    chosen = sorted(row["image"] for row in ranking(tmp_path))
    reading = read_set("detection", tmp_path / "out/detection")
    assert sorted(sample.name for sample in reading.samples) == chosen and len(chosen) == 3
    assert (tmp_path / "out/detection.zip").is_file()


def test_images_of_an_earlier_selection_are_counted(run, photos):
    assert not [line for line in run(photos, "-n", "5")[1] if "earlier runs" in line]
    message = "3 more images of earlier runs are there; name an empty folder with --into to leave them out"
    assert message in run(photos, "-n", "2")[1]


def test_one_task_has_its_own_doubts_and_labels(run, photos, tmp_path):
    assert run(photos, "--task", "detection", "-n", "3")[0] == 0
    assert [path.name for path in (tmp_path / "out").iterdir() if path.is_dir()] == ["detection"]
    rows = ranking(tmp_path)
    assert all(row["detection"] and not row["classification"] and not row["segmentation"] for row in rows)


def test_the_contact_sheet_needs_no_other_file(run, photos, tmp_path):
    (photos / "scene 0.0.png").rename(photos / "<b>&.png")
    run(photos, "-n", "20")
    page = (tmp_path / "out/selection.html").read_text(encoding="utf-8")
    assert page.count("<img ") == 6 == page.count("src=") == page.count('src="data:image/jpeg;base64,')
    assert "<script" not in page and "http:" not in page and "https:" not in page and "<b>&" not in page
    assert "6 of 12 images to label" in page


def test_selections_are_the_same_every_time(run, photos, tmp_path):
    run(photos, "-n", "4", "--flip")
    first = (tmp_path / "out/selection.csv").read_bytes(), (tmp_path / "out/selection.html").read_bytes()
    run(photos, "-n", "4", "--flip", "--batch_size", "3")
    assert first == ((tmp_path / "out/selection.csv").read_bytes(), (tmp_path / "out/selection.html").read_bytes())


def test_labelled_images_are_not_selected(run, photos, tmp_path):
    labelled = tmp_path / "labelled/detection/images"
    labelled.mkdir(parents=True)
    for number in (0, 1):
        Image.fromarray(scene(number)).save(labelled / f"{number}.png")
    run(photos, "-n", "20", "--labelled", tmp_path / "labelled")
    assert {row["image"][:7] for row in ranking(tmp_path)} == {f"scene {number}" for number in (2, 3, 4, 5)}


def test_a_model_of_states_alone_writes_folders(run, photos, tmp_path, monkeypatch):
    monkeypatch.setattr(Predictor, "load", lambda path, device, **_: Predictor(PartBackend("classification")))
    assert run(photos, "-n", "2")[0] == 0
    assert [path.name for path in (tmp_path / "out").iterdir() if path.is_dir()] == ["classification"]


def test_frames_of_a_video_are_selected(run, tmp_path):
    clip = tmp_path / "a clip.avi"
    with VideoFile(clip, 10.0) as video:
        for number in range(30):
            video.write(scene(number // 10), number / 10)
    code, out, _ = run(clip, "-n", "5", "--every", "2")
    assert code == 0 and out[0].startswith("3 of 15 images selected")
    rows = ranking(tmp_path)
    assert {row["similar"] for row in rows} == {"4"}
    assert all(row["image"].startswith("a clip_0000") and row["source"].startswith(f"{clip} at ") for row in rows)
    sizes = {Image.open(path).size for path in (tmp_path / "out/detection/images").glob("*.jpg")}
    assert sizes == {(128, 96)}


def test_options_without_effect_are_refused(run, photos, tmp_path):
    (tmp_path / "clip.avi").write_bytes(b"")
    code, _, err = run(photos, "--every", "2")
    assert code == 2 and err == ["panvision select: --every works only with a video. See `panvision select --help`."]
    code, _, err = run(tmp_path / "clip.avi", "--recursive")
    assert code == 2 and len(err) == 1 and "--recursive works only with a folder." in err[0]
    assert not (tmp_path / "out").exists()


def test_an_earlier_selection_is_not_selected_from_but_counts_as_labelled(run, photos, model, tmp_path, capsys):
    assert main(["select", model, str(photos), "-n", "3", "--into", str(photos / "earlier")]) == 0
    capsys.readouterr()
    code, out, err = run(photos, "-n", "20", "--recursive")
    assert code == 3 and out[0].startswith("6 of 12 images") and len(err) == 1 and "left out: earlier: has" in err[0]
    (tmp_path / "data").mkdir()
    (photos / "earlier").rename(tmp_path / "data/earlier")
    labelled = {path.name[:7] for path in (tmp_path / "data/earlier/detection/images").iterdir()}
    run(photos, "-n", "20", "--labelled", tmp_path / "data", "--into", tmp_path / "others")
    with (tmp_path / "others/selection.csv").open(encoding="utf-8", newline="") as file:
        selected = {row["image"][:7] for row in csv.DictReader(file)}
    assert len(labelled) == len(selected) == 3 and not labelled & selected


def test_json_has_the_documented_keys(run, photos):
    code, out, _ = run(photos, "--json")
    (line,) = out
    found = json.loads(line)
    assert code == 0 and {"selected", "seen", "left_out", "kept", "into"} <= json_keys("select") & set(found)
    assert [each["rank"] for each in found["selected"]] == [1, 2, 3, 4, 5, 6]


def test_a_broken_image_is_left_out_once(run, photos):
    (photos / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    code, _, err = run(photos)
    assert code == 3 and len(err) == 1 and "left out: broken.jpg: " in err[0]


def test_a_folder_without_images_is_one_line(run, tmp_path):
    (tmp_path / "empty").mkdir()
    code, _, err = run(tmp_path / "empty")
    assert code == 1 and len(err) == 1 and "has no images" in err[0]


def test_masks_are_not_images(run, tmp_path):
    for folder in ("images", "masks"):
        (tmp_path / "set" / folder).mkdir(parents=True)
        Image.fromarray(picture()).save(tmp_path / "set" / folder / "a.png")
    assert run(tmp_path / "set", "--recursive")[1][0].startswith("1 of 1 images selected")


@pytest.mark.parametrize("images", ["nowhere", "gone.mp4", "0"])
def test_what_cannot_be_read_leaves_no_folder(run, tmp_path, monkeypatch, images):
    monkeypatch.chdir(tmp_path)
    code, _, err = run(images)
    assert code == 1 and len(err) == 1 and not (tmp_path / "out").exists()
    assert images == "0" or err[0].endswith(f"{images}: no such folder, file or pattern of images")
