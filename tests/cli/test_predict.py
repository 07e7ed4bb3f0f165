import json
import sys

import pytest
from PIL import Image

from panvision.cli.main import main
from panvision.config import Config
from panvision.inference.predictor import Predictor
from panvision.inference.settings import DetectionSettings
from tests.cli.shown import json_keys
from tests.tiny import LIMITED, HeatBackend, PartBackend, changed_metadata, picture, write_onnx


@pytest.fixture
def arguments(tmp_path) -> list[str]:
    (tmp_path / "in").mkdir()
    Image.fromarray(picture()).save(tmp_path / "in" / "a.png")
    (tmp_path / "model").mkdir()
    model = write_onnx(tmp_path / "model" / "m.onnx")
    folders = ["--input-dir", str(tmp_path / "in"), "--output_dir", str(tmp_path / "out")]
    return ["predict", "--checkpoint", str(model), *folders]


def boxes(tmp_path) -> int:
    return len(json.loads((tmp_path / "out" / "predictions.json").read_text())["images"][0]["detection"]["boxes"])


def test_a_folder_is_predicted(tmp_path, arguments, capsys):
    assert main([*arguments, "--visualize"]) == 0
    assert sorted(path.name for path in (tmp_path / "out").glob("[!.]*")) == [
        "a_mask.png",
        "a_pred.png",
        "predictions.json",
        "predictions.jsonl",
    ]
    text = capsys.readouterr()
    assert text.out.splitlines() == ["a.png: frozen 98%, 1 box", f"1 image predicted, written to {tmp_path}/out"]
    assert text.err == ""


def test_an_image_without_an_answer_says_why(tmp_path, arguments, capsys):
    write_onnx(tmp_path / "model" / "m.onnx", metadata=LIMITED.to_metadata().replace("2.0", "0.1"))
    assert main(arguments) == 0
    assert capsys.readouterr().out.startswith("a.png: no answer: unlike the training images, 1 box")


def test_hashes_of_the_model_are_printed(tmp_path, arguments, capsys):
    metadata = changed_metadata(params_sha256="ab" * 32, data_sha256="cd" * 32)
    model = write_onnx(tmp_path / "model" / "m.onnx", metadata=metadata)
    assert main(arguments) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"{model}: params sha256 abababababababab, data sha256 cdcdcdcdcdcdcdcd"


@pytest.mark.parametrize(
    ("tasks", "words"),
    [
        (("segmentation",), "mask"),
        (("detection",), "0 boxes"),
        (("classification",), "frozen 98%"),
        (("segmentation", "detection"), "0 boxes"),
    ],
)
def test_a_model_without_some_tasks(tmp_path, arguments, capsys, monkeypatch, tasks, words):
    monkeypatch.setattr(Predictor, "load", lambda path, device, **_: Predictor(PartBackend(*tasks)))
    assert main([*arguments, "--visualize"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == f"a.png: {words}"


def test_openvino_gives_the_same_words(tmp_path, arguments, capsys):
    pytest.importorskip("openvino")
    assert main([*arguments, "--runtime", "openvino", "--precision", "float32"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "a.png: frozen 98%, 1 box"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--device", "cuda", "--runtime", "openvino"], "cuda: OpenVINO runs here on the CPU only"),
        (
            ["--precision", "bfloat16"],
            "m.onnx: ONNX Runtime has no bfloat16 on this processor; use the runtime openvino",
        ),
        (["--precision", "int8"], "m.onnx: is a float file and cannot run in int8; name the INT8 file"),
    ],
)
def test_what_a_runtime_cannot_do_is_one_line(arguments, capsys, options, message):
    pytest.importorskip("openvino")
    assert main([*arguments, *options]) == 1
    error = capsys.readouterr().err
    assert message in error and len(error.splitlines()) == 1


def test_a_missing_runtime_names_its_extra(arguments, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.delitem(sys.modules, "panvision.inference.openvino_backend", raising=False)
    assert main([*arguments, "--runtime", "openvino"]) == 1
    assert "needs the package openvino, which is not installed" in (error := capsys.readouterr().err)
    assert "pip install '.[openvino]'" in error and len(error.splitlines()) == 1


def test_a_broken_file_is_named(tmp_path, arguments, capsys):
    (tmp_path / "in" / "0.jpg").write_bytes(b"broken")
    assert main(arguments) == 3
    text = capsys.readouterr()
    assert "1 image predicted" in text.out
    assert text.err.startswith("panvision predict: left out: 0.jpg: ")
    assert len(text.err.splitlines()) == 1


def test_pillow_does_not_warn_of_accepted_images(tmp_path, arguments, monkeypatch, recwarn):
    # Above it Pillow warns, above twice as much it refuses; panvision has its own limit.
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", picture().shape[0] * picture().shape[1] - 1)
    assert main(arguments) == 0
    assert [str(warning.message) for warning in recwarn] == []


def test_thresholds_option_configuration_model(tmp_path, arguments):
    assert main(arguments) == 0
    assert boxes(tmp_path) == 1
    Config(detection=DetectionSettings(score_threshold=0.999)).save(tmp_path / "model" / "config.json")
    assert main(arguments) == 0
    assert boxes(tmp_path) == 0
    Config(detection=DetectionSettings(score_threshold=0.5)).save(tmp_path / "other.json")
    assert main([*arguments, "--config", str(tmp_path / "other.json")]) == 0
    assert boxes(tmp_path) == 1
    assert main([*arguments, "--score-threshold", "0.2"]) == 0
    assert boxes(tmp_path) == 1
    (tmp_path / "params.yaml").write_text("detection: {score_threshold: 0.999}\n")
    assert main([*arguments, "--config", str(tmp_path / "params.yaml")]) == 0
    assert boxes(tmp_path) == 0


def test_thresholds_by_class_in_a_configuration(tmp_path, arguments, capsys):
    beside = tmp_path / "model" / "config.json"
    Config(detection=DetectionSettings(score_threshold={"lid": 0.999})).save(beside)
    assert main(arguments) == 0
    assert boxes(tmp_path) == 0  # the model finds a lid
    assert main([*arguments, "--score_threshold", "0.2"]) == 0
    assert boxes(tmp_path) == 1
    Config(detection=DetectionSettings(score_threshold="auto")).save(beside)
    assert main(arguments) == 0
    assert boxes(tmp_path) == 1
    Config(detection=DetectionSettings(score_threshold={"pot": 0.5})).save(beside)
    capsys.readouterr()
    assert main(arguments) == 1
    assert "score_threshold: 'pot' is not a box class of the model; expected lid, stirrer" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--checkpoint", "missing.pth", "missing.pth: no such model file"),
        ("--input_dir", "missing", "missing: no such folder"),
        ("--config", "missing.json", "missing.json: no such configuration file"),
    ],
)
def test_an_error_is_one_line(arguments, capsys, option, value, message):
    assert main([*arguments, option, value]) == 1
    text = capsys.readouterr().err
    assert message in text
    assert len(text.splitlines()) == 1


def test_results_as_lines_of_json(tmp_path, arguments, capsys):
    assert main([*arguments, "--json", "--coco"]) == 0
    text = capsys.readouterr()
    line, last = text.out.splitlines()
    assert json.loads(line)["classification"]["class_name"] == "frozen" and set(json.loads(line)) == {
        "image_name",
        "detection",
        "classification",
    }
    hashes = {"params_sha256": None, "data_sha256": None}
    assert json.loads(last) == {
        "predicted": 1,
        "before": 0,
        "failed": [],
        "leftover": [],
        "output_dir": str(tmp_path / "out"),
        "model": {"file": str(tmp_path / "model" / "m.onnx"), **hashes},
    }
    assert text.err == f"1 image predicted, written to {tmp_path}/out\n"
    assert (tmp_path / "out" / "predictions.coco.json").is_file()


def test_a_resumed_run_predicts_the_rest(tmp_path, arguments, capsys):
    assert main(arguments) == 0
    Image.fromarray(picture()).save(tmp_path / "in" / "b.png")
    capsys.readouterr()
    assert main([*arguments, "--resume"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "b.png: frozen 98%, 1 box",
        f"1 image predicted, 1 before, written to {tmp_path}/out",
    ]
    assert main([*arguments, "--resume", "--score_threshold", "0.999"]) == 1
    assert "other settings; use those again" in capsys.readouterr().err


def test_a_bar_shows_the_progress_on_a_terminal(arguments, capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    assert main(arguments) == 0
    assert f"[{'#' * 40}] 1 of 1" in capsys.readouterr().err


def test_the_last_line_of_json_has_the_counts(tmp_path, arguments, capsys):
    (tmp_path / "in" / "0.jpg").write_bytes(b"broken")
    assert main([*arguments, "--json"]) == 3
    text = capsys.readouterr()
    first, last = map(json.loads, text.out.splitlines())
    assert first["image_name"] == "a.png" and last["predicted"] == 1
    (failed,) = last["failed"]
    assert failed["image_name"] == "0.jpg" and failed["reason"] and set(last) <= json_keys("predict")
    assert main([*arguments, "--json", "--resume"]) == 3
    (last,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert (last["predicted"], last["before"]) == (0, 1)


def test_a_quiet_run_prints_the_summary_alone(tmp_path, arguments, capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    assert main([*arguments, "--quiet"]) == 0
    assert capsys.readouterr() == (f"1 image predicted, written to {tmp_path}/out\n", "")
    assert main([*arguments, "-q", "--json"]) == 0
    text = capsys.readouterr()
    assert len(text.out.splitlines()) == 2 and "\x1b" not in text.err


def test_files_of_an_earlier_run_are_reported(tmp_path, arguments, capsys):
    assert main([*arguments, "--visualize"]) == 0
    assert main([*arguments, "-q"]) == 3
    message = "1 file of an earlier run beside the new ones, first a_pred.png; remove them, or name another output"
    assert message in capsys.readouterr().err


def test_skipped_files_are_listed(tmp_path, arguments, capsys):
    (tmp_path / "in/b.heic").write_bytes(b"?")
    assert main(arguments) == 3
    assert "panvision predict: left out: b.heic: is HEIC, which is not read" in capsys.readouterr().err
    assert main([*arguments, "--input_dir", str(tmp_path / "in/a.png")]) == 0
    capsys.readouterr()
    (tmp_path / "clip.mp4").write_bytes(b"")
    assert main([*arguments, "--input_dir", str(tmp_path / "clip.mp4")]) == 1
    assert f"`panvision watch {tmp_path}/clip.mp4`" in capsys.readouterr().err


def test_explanations_are_drawn(tmp_path, arguments, capsys, monkeypatch):
    monkeypatch.setattr(Predictor, "load", lambda path, device, **_: Predictor(HeatBackend()))
    assert main([*arguments, "--explain", "--json"]) == 0
    assert "explanation" not in json.loads(capsys.readouterr().out.splitlines()[0])
    assert Image.open(tmp_path / "out" / "a_explain.png").size == Image.open(tmp_path / "in" / "a.png").size


def test_explanations_need_a_checkpoint(arguments, capsys):
    assert main([*arguments, "--explain"]) == 1
    text = capsys.readouterr().err
    assert text.startswith("panvision predict: explain: an ONNX file has no gradients; use the checkpoint ")
    assert len(text.splitlines()) == 1
