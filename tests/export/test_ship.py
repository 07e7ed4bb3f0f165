import csv
import hashlib
import json
import runpy
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from panvision.cli.main import main
from panvision.config import Config
from panvision.core.files import write_json
from panvision.core.tasks import TASKS, output_names
from panvision.export.settings import ExportSettings
from panvision.inference.api import load_model
from panvision.inference.backend import PredictorError
from panvision.inference.origin import params_hash, unpack_images
from panvision.inference.predictor import Predictor
from panvision.inference.settings import DecisionSettings
from tests.export.conftest import FIGURES, TRAINED, save_figures, save_model
from tests.tiny import SIZE, SUBSETS

pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

from panvision.export import ship as ship_module  # noqa: E402 -- needs both
from panvision.export.scores import Measured  # noqa: E402
from panvision.export.ship import shipped_config  # noqa: E402

pytestmark = pytest.mark.xdist_group("export")  # which share an export, seconds of work for each worker

STAGE = Path(__file__).parents[2] / "stages/export.py"
MODELS = ("models/panvision.onnx", "models/panvision.int8.onnx")
FEATURE_METRICS = ("state_distance", "state_features")
WRITTEN = (*MODELS, "models/panvision.pth", "models/config.json", "models/MODEL_CARD.md", "metrics/export.json")
PARAMS = """\
data: {root: build/raw}
detection: {score_threshold: 0.25, nms_threshold: 0.4, max_detections: 50}
export: {opset: 21, calibration_images: 4, max_drop: 1.0}
classification: {order: [frozen, fresh, browned]}
"""
WITHOUT_INT8 = PARAMS.replace("opset: 21", "opset: 18, int8: false, rejected: null")


@pytest.fixture
def project(tmp_path, monkeypatch, packed, trained, pictures) -> Path:
    """A folder as the stage finds it."""
    splits = ["test"] * len(pictures) + ["train"] * 2
    packed.add("segmentation", splits, images=np.concatenate([pictures, pictures[:2]]))
    packed.add_states()
    (tmp_path / "models").mkdir()
    shutil.copy(trained.path, tmp_path / "models/best_model.pth")
    (tmp_path / "params.yaml").write_text(PARAMS)
    save_figures(tmp_path / "metrics")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def leave_old_files(folder: Path) -> None:
    for name in WRITTEN:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}")
    (folder / "models/.panvision.onnx.killed.partial").write_text("half a model")


def as_if_exported(exported: Path):
    """Replace `write_onnx` by a file that is there already, with the metadata that were asked for."""

    def write(path, model, info, *, opset) -> None:
        proto = onnx.load(exported)
        proto.metadata_props[0].value = info.to_metadata()
        onnx.save(proto, path)

    return write


def test_the_stage_ships_the_checkpoint(project, trained, pictures, capfd) -> None:
    leave_old_files(project)
    runpy.run_path(str(STAGE), run_name="__main__")
    assert capfd.readouterr() == ("", "")
    assert {str(path) for path in Path("models").iterdir()} == {"models/best_model.pth", *WRITTEN} - {WRITTEN[-1]}
    metrics = json.loads((project / "metrics/export.json").read_text())
    parity = metrics.pop("parity")
    sizes = {
        name: round((project / path).stat().st_size / 1e6, 3)
        for name, path in zip(("checkpoint", "onnx", "int8"), ("models/best_model.pth", *MODELS), strict=True)
    }
    assert metrics.pop("size_mb") == sizes and sizes["int8"] < sizes["onnx"] / 3
    scores, int8, answers = metrics.pop("scores"), metrics.pop("int8"), metrics.pop("answers")
    hashes = metrics.pop("sha256")
    assert [(found["images"], found["rejected"]) for found in answers.values()] == [(12, 0)] * 2
    assert metrics == {}
    assert set(scores) == {"onnx", "int8"} and int8["accepted"] is True
    for figure in ("miou", "map50", "map50_95", "accuracy"):
        assert int8["drop"][figure] == round(scores["onnx"][figure] - scores["int8"][figure], 9)
    assert (parity.pop("images"), parity.pop("passed"), parity.pop("same_results")) == (16, True, 16)
    assert set(parity) == {"mask_probability", "box_score", "box_edge_px", "state_probability", *FEATURE_METRICS}
    assert all(0.0 <= figure <= 0.05 for figure in parity.values())
    shipped = Predictor.load("models/panvision.onnx")
    changes = {"data_sha256": None, "state_order": (), "limits": None, "features": 0, "training_images": None}
    assert replace(shipped.info, **changes) == trained.predictor.info
    with Path("build/splits.csv").open(newline="") as table:
        learned = [row for row in csv.DictReader(table) if row["split"] != "test"]
    assert 0 < len(unpack_images(shipped.info.training_images)) <= len(learned)
    assert shipped.info.state_order == ("frozen", "fresh", "browned")
    rounded = Predictor.load("models/panvision.int8.onnx").info
    assert replace(rounded, limits=shipped.info.limits) == shipped.info and rounded.limits != shipped.info.limits
    assert Predictor.load("models/panvision.pth", "cpu").info == shipped.info
    assert shipped.info.params_sha256 == params_hash(torch_metadata()) and len(shipped.info.data_sha256) == 64
    digest = hashlib.sha256((project / "models/panvision.onnx").read_bytes()).hexdigest()
    assert hashes == {"params": shipped.info.params_sha256, "data": shipped.info.data_sha256, "onnx": digest}
    found = shipped.predict(pictures[0])["detection"]
    assert found["labels"]
    assert found["labels"] == trained.predictor.predict(pictures[0])["detection"]["labels"]
    assert onnx.load("models/panvision.onnx").opset_import[0].version == 21
    predicted = ("--checkpoint", "models/panvision.int8.onnx", "--input_dir", "build/raw/detection/images")
    assert main(["predict", *predicted]) == 0
    assert f"params sha256 {shipped.info.params_sha256[:16]}" in capfd.readouterr().out
    assert len(json.loads(Path("outputs/predictions.json").read_text())["images"]) == 6
    written = {name: (project / name).read_bytes() for name in WRITTEN}
    config = Config.load("models/config.json")
    assert (config.seed, config.loss.cls, config.train.phase1.epochs, config.augment.hue) == (7, 4.0, 1, 0.1)
    assert config.model == trained.model.settings and config.tasks == tuple(TASKS)
    assert config.data.image_size == SIZE and config.classification.order == shipped.info.state_order
    assert tuple(config.detection.model_dump().values()) == (0.25, 0.4, 50)
    assert config.export == ExportSettings(opset=21, calibration_images=4, max_drop=1.0)
    runpy.run_path(str(STAGE), run_name="__main__")
    assert {name: (project / name).read_bytes() for name in WRITTEN} == written


def test_the_stage_ships_measured_thresholds_and_costs(project, pictures, monkeypatch, exported) -> None:
    monkeypatch.setattr(ship_module, "write_onnx", as_if_exported(exported))
    limits = {"lid": 0.21, "stirrer": 0.46}
    write_json(project / "metrics/detection.json", {**FIGURES["detection"], "threshold": limits})
    confusions = "{browned: {frozen: 100.0}, fresh: {frozen: 100.0}}"
    costs = f"decision: {{criterion: cost, min_precision: 0.8, costs: {{miss: 3.0, confusions: {confusions}}}}}\n"
    (project / "params.yaml").write_text(WITHOUT_INT8.replace("50}", "1000}") + costs)
    runpy.run_path(str(STAGE), run_name="__main__")
    checkpoint, shipped = (Predictor.load(f"models/panvision.{suffix}", "cpu") for suffix in ("pth", "onnx"))
    assert checkpoint.info == shipped.info and shipped.score_threshold == limits
    assert shipped.info.costs[1] == (1.0, 0.0, 100.0)
    everything, plain = shipped.with_thresholds(0.0), Predictor.load("models/best_model.pth", "cpu")
    kept = 0
    for one in pictures:
        found, other, every = checkpoint.predict(one), shipped.predict(one), everything.predict(one)["detection"]
        assert found["detection"]["labels"] == other["detection"]["labels"]
        pairs = zip(every["class_names"], every["scores"], strict=True)
        assert other["detection"]["scores"] == [score for name, score in pairs if score >= limits[name]]
        assert found["classification"]["class_name"] == other["classification"]["class_name"] != "frozen"
        kept += len(other["detection"]["scores"])
    assert kept
    assert {plain.predict(one)["classification"]["class_name"] for one in pictures} == {"frozen"}
    decision = Config.load("models/config.json").decision
    assert (decision.criterion, decision.min_precision, decision.costs.miss) == ("cost", 0.8, 3.0)
    assert decision.costs.confusions["fresh"]["frozen"] == 100.0
    # The configuration beside the model changes nothing.
    model, _ = load_model("models/panvision.onnx", Config.load("models/config.json"))
    assert model.info == shipped.info
    card = Path("models/MODEL_CARD.md").read_text()
    assert "a score of at least 0.21 (lid), 0.46 (stirrer), at most 1000 per photo" in card


@pytest.mark.parametrize("tasks", [subset for subset in SUBSETS if len(subset) < 3])
def test_ship_a_model_of_fewer_tasks(project, pictures, tasks) -> None:
    save_model("models/best_model.pth", tasks)
    save_figures(project / "metrics", tasks)
    runpy.run_path(str(STAGE), run_name="__main__")
    outputs = [output.name for output in onnx.load("models/panvision.onnx").graph.output]
    assert outputs == list(output_names(tasks, optional=True))
    reference, shipped = Predictor.load("models/best_model.pth"), Predictor.load("models/panvision.onnx")
    assert shipped.tasks == tasks and set(shipped.predict(pictures[0])) == set(tasks)
    for name, output in shipped.raw(pictures).items():
        if name in TASKS["classification"].optional:
            continue
        expected = reference.raw(pictures)[name]
        assert (output is None) == (expected is None) == (name not in outputs)
        if output is not None:
            np.testing.assert_allclose(output, expected, atol=1e-4, rtol=1e-4)
    rounded = Predictor.load("models/panvision.int8.onnx")
    assert replace(rounded.info, limits=shipped.info.limits) == shipped.info and set(
        rounded.predict(pictures[0])
    ) == set(tasks)
    metrics = json.loads((project / "metrics/export.json").read_text())
    parity = metrics["parity"]
    headline = {"segmentation": {"miou"}, "detection": {"map50", "map50_95"}, "classification": {"accuracy"}}
    defined = set().union(*(headline[task] for task in tasks))
    for found in (*metrics["scores"].values(), metrics["int8"]["drop"]):
        assert {name for name, value in found.items() if value is not None} == defined
    figures = {
        "segmentation": {"mask_probability"},
        "detection": {"box_score", "box_edge_px"},
        "classification": {"state_probability", *FEATURE_METRICS},
    }
    assert {name for name, value in parity.items() if value is None} == set().union(
        *(figures[task] for task in TASKS if task not in tasks)
    )
    assert parity["passed"] is True and parity["same_results"] == 16
    assert Config.load("models/config.json").tasks == tasks


def test_stage_leaves_nothing_if_models_differ(project, exported, monkeypatch) -> None:
    leave_old_files(project)
    monkeypatch.setattr(ship_module, "write_onnx", as_if_exported(exported))
    (project / "params.yaml").write_text(WITHOUT_INT8.replace("opset: 18", "max_probability_error: 1.0e-12"))
    with pytest.raises(SystemExit) as caught:
        runpy.run_path(str(STAGE), run_name="__main__")
    assert "models/best_model.pth: its ONNX export answers differently on 16 images" in caught.value.code
    assert not [name for name in WRITTEN if (project / name).exists()]
    assert [path.name for path in (project / "models").iterdir()] == ["best_model.pth"]


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (lambda: Path("models/best_model.pth").unlink(), "models/best_model.pth: no such model file"),
        (lambda: Path("models/best_model.pth").write_bytes(b"x"), "models/best_model.pth: not a readable checkpoint"),
        (lambda: Path("build/splits.csv").unlink(), "build/splits.csv: missing"),
        (lambda: Path("metrics/detection.json").unlink(), "metrics/detection.json: missing; run `python stages/eval"),
        (
            lambda: write_json("metrics/detection.json", FIGURES["detection"] | {"threshold": {"lid": 0.5}}),
            "detection.json: threshold: has no number for stirrer; run `dvc repro evaluate`",
        ),
        (lambda: Path("params.yaml").write_text("export: {opset: 9}"), "export.opset: Input should be greater than"),
        (lambda: Path("params.yaml").write_text(PARAMS.replace("frozen", "raw")), "order is .'raw', 'fresh'"),
    ],
)
def test_the_stage_names_what_it_lacks(project, broken, message) -> None:
    broken()
    with pytest.raises(SystemExit, match=message):
        runpy.run_path(str(STAGE), run_name="__main__")
    assert not [name for name in WRITTEN if (project / name).exists()]


def torch_metadata() -> dict:
    from panvision.model.checkpoint import load_checkpoint

    return load_checkpoint("models/best_model.pth")[1]


class TestInt8:
    """The stage with the float export of the session's model, so that only INT8 is made."""

    @pytest.fixture(autouse=True)
    def short(self, project, exported, trained, monkeypatch) -> None:
        monkeypatch.setattr(ship_module, "write_onnx", as_if_exported(exported))
        # That export answers every image.
        monkeypatch.setattr(ship_module, "answerable_images", lambda *_: None)

    def run(self) -> dict:
        runpy.run_path(str(STAGE), run_name="__main__")
        return json.loads(Path("metrics/export.json").read_text())

    def test_ship_int8_that_loses_too_much(self, monkeypatch) -> None:
        Path("params.yaml").write_text(PARAMS.replace("max_drop: 1.0", "max_drop: 0.01"))

        def score(predictor, held_out):
            good = "int8" not in predictor.backend.path.name
            return Measured({"miou": 0.9 if good else 0.88, "map50": None, "map50_95": 0.5, "accuracy": None})

        monkeypatch.setattr(ship_module, "measure", score)
        assert self.run()["int8"] == {
            "accepted": False,
            "drop": {"miou": 0.02, "map50": None, "map50_95": 0.0, "accuracy": None},
        }
        assert Predictor.load("models/panvision.int8.onnx")
        assert "INT8 is **not accepted**" in Path("models/MODEL_CARD.md").read_text()

    def test_ship_without_int8(self) -> None:
        Path("params.yaml").write_text(WITHOUT_INT8)
        metrics = self.run()
        assert metrics["int8"] is None and metrics["scores"]["int8"] is None and metrics["size_mb"]["int8"] is None
        assert Path("models/panvision.int8.onnx").read_bytes() == b""
        with pytest.raises(PredictorError, match=r"export\.int8"):
            Predictor.load("models/panvision.int8.onnx")

    @pytest.mark.parametrize("fault", [NotImplementedError("no such\noperator"), KeyError("relu_1")])
    def test_write_int8_error_names_the_remedy(self, monkeypatch, fault) -> None:
        def fail(*args, **named):
            raise fault

        leave_old_files(Path.cwd())
        save_figures(Path("metrics"))
        monkeypatch.setattr("onnxruntime.quantization.quantize_static", fail)
        with pytest.raises(SystemExit, match=r"cannot be made INT8: \w+: .*; set export\.int8: false") as caught:
            self.run()
        assert "\n" not in caught.value.code
        assert not [name for name in WRITTEN if Path(name).exists()]
        assert [path.name for path in Path("models").iterdir()] == ["best_model.pth"]


class TestConfig:
    def shipped(self, trained, metadata: dict, tmp_path) -> Config:
        plain = shipped_config(metadata, trained.predictor.info, ExportSettings(opset=20))
        (tmp_path / "config.json").write_text(json.dumps(plain))
        return Config.load(tmp_path / "config.json")

    def test_shipped_config_without_training_config(self, trained, tmp_path) -> None:
        model = trained.model.settings.model_dump(mode="json")
        for metadata in ({"model": model}, {"model": model, "config": None}, {"model": model, "config": {}}):
            config = self.shipped(trained, metadata, tmp_path)
            assert config.loss == Config().loss
            assert config.model == trained.model.settings

    def test_every_decision_is_shipped_with_the_costs_of_the_file(self, trained) -> None:
        costs = {"miss": 3.0, "false_alarm": 0.5, "confusions": {"fresh": {"frozen": 9.0}}}
        decision = DecisionSettings(criterion="precision", min_precision=0.8, costs=costs)
        metadata = {"model": trained.model.settings.model_dump(mode="json")}
        for predictor in (trained.predictor, trained.predictor.with_costs({"browned": {"fresh": 4.0}})):
            plain = shipped_config(metadata, predictor.info, ExportSettings(), decision=decision)
            found = Config.parse(plain).decision
            assert found.model_copy(update={"costs": None}) == decision.model_copy(update={"costs": None})
            assert (found.costs.miss, found.costs.false_alarm) == (3.0, 0.5)
            own = predictor.info.costs
            assert found.costs.confusions.get("browned", {}).get("fresh") == (own[0][1] if own else None)
            assert found.costs.confusions.get("fresh", {}).get("frozen", 1.0) == 1.0

    def test_only_sections_of_training_are_taken_over(self, trained, tmp_path) -> None:
        model = trained.model.settings.model_dump(mode="json")
        trained_with = {**TRAINED, "model": {"backbone": "resnet50"}, "paths": {"a": 1}}
        config = self.shipped(trained, {"model": model, "config": trained_with}, tmp_path)
        assert config.model.backbone == "resnet10"
        assert config.seed == 7
