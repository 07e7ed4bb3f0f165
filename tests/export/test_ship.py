import json
import runpy
import shutil
from pathlib import Path

import numpy as np
import pytest

from panvision.config import Config
from panvision.export.settings import ExportSettings
from panvision.inference.backend import OUTPUTS_OF, TASKS
from panvision.inference.predictor import Predictor
from tests.export.conftest import TRAINED, save_model
from tests.tiny import SIZE, SUBSETS

pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

from panvision.export import ship as ship_module  # noqa: E402 -- needs both
from panvision.export.ship import shipped_config  # noqa: E402

STAGE = Path(__file__).parents[2] / "stages/export.py"
WRITTEN = ("models/panvision.onnx", "models/config.json", "metrics/export.json")
PARAMS = "detection: {score_threshold: 0.25, nms_threshold: 0.4, max_detections: 50}\nexport: {opset: 21}\n"


@pytest.fixture
def project(tmp_path, monkeypatch, packed, trained, pictures) -> Path:
    """A folder as the stage finds it."""
    packed.add("segmentation", ["test"] * len(pictures), images=pictures)
    (tmp_path / "models").mkdir()
    shutil.copy(trained.path, tmp_path / "models/best_model.pth")
    (tmp_path / "params.yaml").write_text(PARAMS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def leave_old_files(folder: Path) -> None:
    for name in WRITTEN:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}")


def test_the_stage_ships_the_checkpoint(project, trained, pictures, capfd) -> None:
    leave_old_files(project)
    runpy.run_path(str(STAGE), run_name="__main__")
    assert capfd.readouterr() == ("", "")
    assert sorted(path.name for path in (project / "models").iterdir()) == [
        "best_model.pth",
        "config.json",
        "panvision.onnx",
    ]
    metrics = json.loads((project / "metrics/export.json").read_text())
    parity = metrics.pop("parity")
    sizes = {
        name: round((project / path).stat().st_size / 1e6, 3)
        for name, path in (("checkpoint", "models/best_model.pth"), ("onnx", "models/panvision.onnx"))
    }
    assert metrics == {"size_mb": sizes}
    assert (parity.pop("images"), parity.pop("passed"), parity.pop("same_results")) == (15, True, 15)
    assert set(parity) == {"mask_probability", "box_score", "box_edge_px", "state_probability"}
    assert all(0.0 <= figure <= 0.05 for figure in parity.values())
    shipped = Predictor.load("models/panvision.onnx")
    assert shipped.info == trained.predictor.info
    found = shipped.predict(pictures[0])["detection"]
    assert found["labels"]
    assert found["labels"] == trained.predictor.predict(pictures[0])["detection"]["labels"]
    assert onnx.load("models/panvision.onnx").opset_import[0].version == 21
    written = {name: (project / name).read_bytes() for name in WRITTEN}
    config = Config.load("models/config.json")
    assert (config.seed, config.loss.cls, config.train.phase1.epochs, config.augment.hue) == (7, 4.0, 1, 0.1)
    assert config.model == trained.model.settings and config.tasks == TASKS
    assert config.data.image_size == SIZE
    assert tuple(config.detection.model_dump().values()) == (0.25, 0.4, 50)
    assert config.export == ExportSettings(opset=21)
    runpy.run_path(str(STAGE), run_name="__main__")
    assert {name: (project / name).read_bytes() for name in WRITTEN} == written


@pytest.mark.parametrize("tasks", [subset for subset in SUBSETS if len(subset) < 3])
def test_a_model_of_fewer_tasks_ships_with_their_outputs_alone(project, pictures, tasks) -> None:
    save_model("models/best_model.pth", tasks)
    runpy.run_path(str(STAGE), run_name="__main__")
    outputs = [output.name for output in onnx.load("models/panvision.onnx").graph.output]
    assert outputs == [name for task in tasks for name in OUTPUTS_OF[task]]
    reference, shipped = Predictor.load("models/best_model.pth"), Predictor.load("models/panvision.onnx")
    assert shipped.tasks == tasks and set(shipped.predict(pictures[0])) == set(tasks)
    for name, output in shipped.raw(pictures)._asdict().items():
        expected = getattr(reference.raw(pictures), name)
        assert (output is None) == (expected is None) == (name not in outputs)
        if output is not None:
            np.testing.assert_allclose(output, expected, atol=1e-4, rtol=1e-4)
    parity = json.loads((project / "metrics/export.json").read_text())["parity"]
    figures = {
        "segmentation": {"mask_probability"},
        "detection": {"box_score", "box_edge_px"},
        "classification": {"state_probability"},
    }
    assert {name for name, value in parity.items() if value is None} == set().union(
        *(figures[task] for task in TASKS if task not in tasks)
    )
    assert parity["passed"] is True and parity["same_results"] == 15
    assert Config.load("models/config.json").tasks == tasks


def test_the_stage_fails_and_leaves_nothing_when_the_models_differ(project, exported, monkeypatch) -> None:
    leave_old_files(project)
    monkeypatch.setattr(ship_module, "write_onnx", lambda path, *rest, **named: shutil.copy(exported, path))
    (project / "params.yaml").write_text(PARAMS.replace("opset: 21", "max_probability_error: 1.0e-12"))
    with pytest.raises(SystemExit) as caught:
        runpy.run_path(str(STAGE), run_name="__main__")
    assert "models/best_model.pth: its ONNX export answers differently on 15 pictures" in caught.value.code
    assert not [name for name in WRITTEN if (project / name).exists()]
    assert [path.name for path in (project / "models").iterdir()] == ["best_model.pth"]


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (lambda: Path("models/best_model.pth").unlink(), "models/best_model.pth: no such model file"),
        (lambda: Path("models/best_model.pth").write_bytes(b"x"), "models/best_model.pth: not a readable checkpoint"),
        (lambda: Path("build/splits.csv").unlink(), "build/splits.csv: missing"),
        (lambda: Path("params.yaml").write_text("export: {opset: 9}"), "export.opset: Input should be greater than"),
    ],
)
def test_the_stage_names_what_it_lacks(project, broken, message) -> None:
    broken()
    with pytest.raises(SystemExit, match=message):
        runpy.run_path(str(STAGE), run_name="__main__")
    assert not [name for name in WRITTEN if (project / name).exists()]


class TestConfig:
    def shipped(self, trained, metadata: dict, tmp_path) -> Config:
        plain = shipped_config(metadata, trained.predictor.info, ExportSettings(opset=20))
        (tmp_path / "config.json").write_text(json.dumps(plain))
        return Config.load(tmp_path / "config.json")

    def test_a_checkpoint_need_not_say_how_it_was_trained(self, trained, tmp_path) -> None:
        model = trained.model.settings.model_dump(mode="json")
        for metadata in ({"model": model}, {"model": model, "config": None}, {"model": model, "config": {}}):
            config = self.shipped(trained, metadata, tmp_path)
            assert config.loss == Config().loss
            assert config.model == trained.model.settings

    def test_only_sections_of_training_are_taken_over(self, trained, tmp_path) -> None:
        model = trained.model.settings.model_dump(mode="json")
        trained_with = {**TRAINED, "model": {"backbone": "resnet50"}, "paths": {"a": 1}}
        config = self.shipped(trained, {"model": model, "config": trained_with}, tmp_path)
        assert config.model.backbone == "resnet10"
        assert config.seed == 7
