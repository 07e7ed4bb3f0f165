import logging
from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image

from panvision.config import Config
from panvision.inference import Predictor, infer_image, load_model, run_inference
from panvision.inference.backend import PredictorError
from panvision.inference.settings import DetectionSettings
from tests.tiny import STATE_NAMES, ColourBackend, PartBackend, picture, write_onnx


@pytest.fixture
def model() -> Predictor:
    return Predictor(ColourBackend())


@pytest.fixture
def folder(tmp_path):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    Image.fromarray(picture(box=(4, 4, 30, 30))).save(pictures / "b.png")
    Image.fromarray(picture(colour=(130, 0, 0))).save(pictures / "a.jpg", quality=95)
    (pictures / "notes.txt").write_text("not a picture")
    return pictures


def test_the_documented_snippet(tmp_path, folder) -> None:
    config = Config()
    model, checkpoint_info = load_model(write_onnx(tmp_path / "m.onnx"), config, config.DEVICE)
    result = infer_image(model, folder / "b.png", checkpoint_info, config, score_threshold=0.2, nms_threshold=0.4)
    assert set(result) == {"segmentation", "detection", "classification"}
    results = run_inference(
        model, folder, checkpoint_info, config, output_dir=tmp_path / "out", visualize=True, score_threshold=0.2
    )
    assert [one["image_name"] for one in results] == ["a.jpg", "b.png"]
    assert results[1]["image_path"] == str(folder / "b.png")
    assert checkpoint_info["cls_idx_to_class"] == dict(enumerate(STATE_NAMES))
    assert checkpoint_info["num_det_classes"] == 2


def test_infer_image_with_one_task(tmp_path, folder, monkeypatch) -> None:
    monkeypatch.setattr(Predictor, "load", lambda path, device, **_: Predictor(PartBackend("segmentation")))
    model, info = load_model(tmp_path / "m.onnx", Config())
    assert info == {
        "tasks": ["segmentation"],
        "num_det_classes": 0,
        "num_cls_classes": 0,
        "det_class_names": [],
        "cls_idx_to_class": {},
        "params_sha256": None,
        "data_sha256": None,
    }
    assert set(infer_image(model, folder / "b.png", info, Config())) == {"segmentation"}
    assert all("detection" not in one for one in run_inference(model, folder, info, output_dir=tmp_path / "out"))


def test_thresholds_precedence(model, tmp_path) -> None:
    image = picture(box=(4, 4, 30, 30))
    strict = Config(detection=DetectionSettings(score_threshold=0.999, nms_threshold=0.1, max_detections=3))
    assert len(infer_image(model, image)["detection"]["boxes"]) == 1
    assert infer_image(model, image, None, strict)["detection"]["boxes"] == []
    assert len(infer_image(model, image, None, strict, score_threshold=0.5)["detection"]["boxes"]) == 1
    assert len(infer_image(model, image, None, strict, score_threshold=0.0)["detection"]["boxes"]) == 3
    loaded, _ = load_model(write_onnx(tmp_path / "m.onnx"), strict)
    assert (loaded.score_threshold, loaded.nms_threshold, loaded.max_detections) == (0.999, 0.1, 3)


def test_a_config_of_another_make_is_enough(model) -> None:
    @dataclass
    class Thresholds:
        score_threshold: float = 0.999
        nms_threshold: float = 0.5
        max_detections: int = 10

    @dataclass
    class Settings:
        detection: Thresholds

    assert infer_image(model, picture(box=(4, 4, 30, 30)), None, Settings(Thresholds()))["detection"]["boxes"] == []


def test_names_come_from_checkpoint_info(model) -> None:
    info = {"det_class_names": ["Deckel", "Rührer"], "cls_idx_to_class": {0: "braun", 1: "frisch", 2: "gefroren"}}
    result = infer_image(model, picture(box=(4, 4, 30, 30)), info)
    assert result["detection"]["class_names"] == ["Rührer"]
    assert list(result["classification"]["probabilities"]) == ["braun", "frisch", "gefroren"]


@pytest.mark.parametrize(
    "info",
    [
        {"det_class_names": ["one"], "cls_idx_to_class": {0: "a", 1: "b", 2: "c"}},
        {"det_class_names": ["one", "two"], "cls_idx_to_class": {0: "a", 1: "b"}},
        {"det_class_names": ["one", "two"], "cls_idx_to_class": {1: "a", 2: "b", 3: "c"}},
    ],
)
def test_checkpoint_info_of_another_model_is_refused(model, info) -> None:
    with pytest.raises(PredictorError, match="checkpoint_info"):
        infer_image(model, picture(), info)


def test_run_inference_names_broken_files(model, folder, caplog) -> None:
    (folder / "ab.jpg").write_bytes((folder / "a.jpg").read_bytes()[:200])
    with caplog.at_level(logging.WARNING):
        results = run_inference(model, folder)
    assert [one["image_name"] for one in results] == ["a.jpg", "b.png"]
    assert "1 of 3 files left out: ab.jpg: " in caplog.text


def test_a_folder_in_order_says_nothing(model, folder, caplog) -> None:
    run_inference(model, folder)
    assert caplog.text == ""


def test_results_equal_those_of_single_pictures(model, folder) -> None:
    for result in run_inference(model, folder):
        alone = infer_image(model, result["image_path"])
        assert np.array_equal(alone["segmentation"]["mask"], result["segmentation"]["mask"])
        assert alone["detection"] == result["detection"]
        assert alone["classification"] == result["classification"]
