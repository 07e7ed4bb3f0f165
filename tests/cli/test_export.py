import base64
import json
import shutil

from panvision.cli.main import main
from panvision.inference.origin import unpack_images
from panvision.inference.predictor import Predictor
from panvision.model.checkpoint import load_checkpoint, save_checkpoint
from tests.cli.shown import json_keys


def test_export_ships_the_checkpoint_and_evaluate_agrees(raw, trained, tmp_path, capsys):
    folder = tmp_path / "exported"
    settings = ["--set", "export.calibration_images=8", "--set", "detection.score_threshold=auto"]
    settings += ["--set", "decision.criterion=cost"]
    model = str(tmp_path / "best_model.pth")
    shutil.copy(next(trained.glob("config_*.json")), tmp_path)
    network, metadata = load_checkpoint(trained / "best_model.pth")
    elsewhere = base64.b64encode(b"\x01" * 8).decode()
    save_checkpoint(model, network, meta={**metadata, "training_images": elsewhere})
    assert main(["export", model, "--calibrate", str(raw), "--out", str(folder), "--json", *settings]) == 0
    files = json.loads(capsys.readouterr().out)
    assert set(files) <= json_keys("export") and all((folder / name).exists() for name in files.values())
    export = json.loads((folder / "metrics/export.json").read_text())
    assert export["parity"]["passed"] and "Model card" in (folder / "MODEL_CARD.md").read_text()
    info = Predictor.load(files["onnx"]).info
    measured = json.loads((folder / "metrics/detection.json").read_text())["threshold"]
    # Those that evaluation chose, not the default.
    assert set(measured.values()) != {0.3}
    assert dict(zip(info.det_class_names, info.thresholds.by_class(len(measured)), strict=True)) == measured
    # The datasets here shape the file as well.
    own = unpack_images(metadata["training_images"])
    assert own and unpack_images(info.training_images) == own | unpack_images(elsewhere)
    assert info.data_sha256 and info == Predictor.load(files["checkpoint"], "cpu").info

    config = str(next(trained.glob("config_*.json")))
    assert main(["evaluate", files["onnx"], str(raw), "--config", config, "--json"]) == 0
    metrics = json.loads(capsys.readouterr().out)["metrics"]
    for task, key in (("segmentation", "miou"), ("detection", "map50_95"), ("classification", "accuracy")):
        assert metrics[task][key] == export["scores"]["onnx"][key]


def test_datasets_that_the_model_was_not_made_for_are_one_line(raw, trained, tmp_path, capsys):
    model = trained / "best_model.pth"
    assert main(["export", str(model), "--calibrate", str(tmp_path), "--out", str(tmp_path / "out")]) == 1
    assert "classification: has no images" in capsys.readouterr().err and not (tmp_path / "out/panvision.onnx").exists()
