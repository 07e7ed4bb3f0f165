import json

import pytest
from PIL import Image

from panvision.cli.main import main
from panvision.config import Config
from panvision.inference.predictor import Predictor
from panvision.inference.settings import DetectionSettings
from tests.cli.shown import json_keys
from tests.tiny import PartBackend, changed_metadata, picture, write_onnx


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


def test_a_folder_is_predicted(tmp_path, arguments, capsys) -> None:
    assert main([*arguments, "--visualize"]) == 0
    assert sorted(path.name for path in (tmp_path / "out").glob("[!.]*")) == [
        "a_mask.png",
        "a_pred.png",
        "predictions.json",
        "predictions.jsonl",
    ]
    text = capsys.readouterr()
    assert text.out.splitlines() == ["a.png: frozen 98%, 1 box", f"1 picture predicted, written to {tmp_path}/out"]
    assert text.err == ""


def test_a_model_that_knows_what_made_it_says_so(tmp_path, arguments, capsys) -> None:
    metadata = changed_metadata(params_sha256="ab" * 32, data_sha256="cd" * 32)
    model = write_onnx(tmp_path / "model" / "m.onnx", metadata=metadata)
    assert main(arguments) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"{model}: params sha256 abababababababab, data sha256 cdcdcdcdcdcdcdcd"


@pytest.mark.parametrize(
    ("tasks", "said"),
    [
        (("segmentation",), "mask"),
        (("detection",), "0 boxes"),
        (("classification",), "frozen 98%"),
        (("segmentation", "detection"), "0 boxes"),
    ],
)
def test_a_model_without_some_tasks_says_what_it_has(tmp_path, arguments, capsys, monkeypatch, tasks, said) -> None:
    monkeypatch.setattr(Predictor, "load", lambda path, device: Predictor(PartBackend(*tasks)))
    assert main([*arguments, "--visualize"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == f"a.png: {said}"


def test_a_broken_file_is_named_and_the_rest_finished(tmp_path, arguments, capsys) -> None:
    (tmp_path / "in" / "0.jpg").write_bytes(b"broken")
    assert main(arguments) == 3
    text = capsys.readouterr()
    assert "1 picture predicted" in text.out
    assert text.err.startswith("panvision predict: could not be read: 0.jpg: ")
    assert len(text.err.splitlines()) == 1


def test_pillow_does_not_warn_of_pictures_that_are_accepted(tmp_path, arguments, monkeypatch, recwarn) -> None:
    # Above it Pillow warns, above twice as much it refuses; panvision has a limit of its own.
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", picture().shape[0] * picture().shape[1] - 1)
    assert main(arguments) == 0
    assert [str(warning.message) for warning in recwarn] == []


def test_thresholds_option_before_configuration_before_model(tmp_path, arguments) -> None:
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


@pytest.mark.parametrize("value", ["1.5", "-0.1", "nan", "high"])
def test_a_threshold_outside_its_range_is_wrong_usage(arguments, capsys, value) -> None:
    with pytest.raises(SystemExit) as stop:
        main([*arguments, f"--nms_threshold={value}"])
    assert stop.value.code == 2
    assert "nms_threshold" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--checkpoint", "missing.pth", "missing.pth: no such model file"),
        ("--input_dir", "missing", "missing: no such folder"),
        ("--config", "missing.json", "missing.json: no such configuration file"),
    ],
)
def test_an_error_is_one_line(arguments, capsys, option, value, message) -> None:
    assert main([*arguments, option, value]) == 1
    text = capsys.readouterr().err
    assert message in text
    assert len(text.splitlines()) == 1


def test_results_are_lines_of_json_for_programs(tmp_path, arguments, capsys) -> None:
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
        "output_dir": str(tmp_path / "out"),
        "model": {"file": str(tmp_path / "model" / "m.onnx"), **hashes},
    }
    assert text.err == f"1 picture predicted, written to {tmp_path}/out\n"
    assert (tmp_path / "out" / "predictions.coco.json").is_file()


def test_a_resumed_run_predicts_what_is_left(tmp_path, arguments, capsys) -> None:
    assert main(arguments) == 0
    Image.fromarray(picture()).save(tmp_path / "in" / "b.png")
    capsys.readouterr()
    assert main([*arguments, "--resume"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "b.png: frozen 98%, 1 box",
        f"1 picture predicted, 1 before, written to {tmp_path}/out",
    ]
    assert main([*arguments, "--resume", "--score_threshold", "0.999"]) == 1
    assert "other settings; use those again" in capsys.readouterr().err


def test_a_bar_shows_the_progress_on_a_terminal(arguments, capsys, monkeypatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    assert main(arguments) == 0
    assert f"[{'#' * 40}] 1 of 1" in capsys.readouterr().err


def test_the_last_line_for_programs_tells_what_the_whole_run_came_to(tmp_path, arguments, capsys) -> None:
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


def test_a_quiet_run_has_neither_a_bar_nor_a_line_for_each_picture(tmp_path, arguments, capsys, monkeypatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    assert main([*arguments, "--quiet"]) == 0
    assert capsys.readouterr() == (f"1 picture predicted, written to {tmp_path}/out\n", "")
    assert main([*arguments, "-q", "--json"]) == 0
    text = capsys.readouterr()
    assert len(text.out.splitlines()) == 2 and "\x1b" not in text.err


def test_a_configuration_may_be_a_params_file(tmp_path, arguments) -> None:
    (tmp_path / "params.yaml").write_text("detection: {score_threshold: 0.999}\n")
    assert main([*arguments, "--config", str(tmp_path / "params.yaml")]) == 0
    assert boxes(tmp_path) == 0
