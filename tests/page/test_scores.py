import hashlib
import json

import pytest
import yaml

from panvision.core.files import write_json
from panvision.page.scores import find_scores

TASKS = ("segmentation", "detection", "classification")
METRICS = {
    "segmentation": {"miou": 0.9, "dice": 0.95, "ci95": {"miou": {"low": 0.85, "high": 0.93}}},
    "detection": {"map50": 0.8, "map50_95": 0.5, "ci95": {"map50": None}},
    "classification": {"accuracy": 0.7, "balanced_accuracy": None},
    "export": {
        "scores": {
            "onnx": {"miou": 0.9, "map50": 0.8, "map50_95": 0.51, "accuracy": 0.7},
            "int8": {"miou": 0.88, "map50": 0.79, "map50_95": None, "accuracy": 0.7},
        }
    },
}
MODELS = ("best_model.pth", "panvision.onnx", "panvision.int8.onnx")


class Project:
    """The files of a pipeline: models, metrics, and the lock with their hashes."""

    def __init__(self, folder):
        self.folder = folder
        for name in MODELS:
            self.write(f"models/{name}", name)
        for name, metrics in METRICS.items():
            write_json(folder / f"metrics/{name}.json", metrics)
        measured = [f"metrics/{task}.json" for task in TASKS]
        self.lock = {
            "evaluate": {"deps": self.entries("models/best_model.pth"), "outs": self.entries(*measured)},
            "export": {
                "deps": self.entries("models/best_model.pth", *measured),
                "outs": self.entries("models/panvision.onnx", "models/panvision.int8.onnx", "metrics/export.json"),
            },
        }
        self.write_lock()

    def write(self, name, text):
        (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / name).write_text(text)

    def entries(self, *names):
        hashes = (hashlib.md5((self.folder / name).read_bytes()).hexdigest() for name in names)  # noqa: S324 -- as DVC
        return [{"path": name, "md5": md5} for name, md5 in zip(names, hashes, strict=True)]

    def write_lock(self):
        self.write("dvc.lock", yaml.safe_dump({"schema": "2.0", "stages": self.lock}))

    def scores(self, name, tasks=TASKS, **options):
        return find_scores(self.folder / "models" / name, tasks, **options)


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


def rows(scores):
    return {row["name"]: (row["value"], row["interval"]) for row in scores["rows"]}


def test_find_scores_of_the_checkpoint(project):
    assert rows(project.scores("best_model.pth")) == {
        "mIoU": (0.9, [0.85, 0.93]),
        "Dice": (0.95, None),
        "mAP@0.5": (0.8, None),
        "mAP@[.5:.95]": (0.5, None),
        "accuracy": (0.7, None),
        "balanced accuracy": (None, None),
    }


def test_find_scores_of_an_export_has_its_own_values(project):
    scores = project.scores("panvision.onnx")
    assert rows(scores) == {
        "mIoU": (0.9, [0.85, 0.93]),
        "mAP@0.5": (0.8, None),
        "mAP@[.5:.95]": (0.51, None),
        "accuracy": (0.7, None),
    }
    assert "intervals are those of the checkpoint" in scores["about"]


def test_find_scores_of_int8_has_no_intervals(project):
    scores = project.scores("panvision.int8.onnx")
    assert rows(scores)["mIoU"] == (0.88, None) and rows(scores)["mAP@[.5:.95]"] == (None, None)
    assert "for the checkpoint only" in scores["about"]


@pytest.mark.parametrize("name", MODELS)
def test_find_scores_ignores_the_name_of_a_file(project, tmp_path, name):
    copy = tmp_path / "far/away/my.model"
    copy.parent.mkdir(parents=True)
    copy.write_bytes((tmp_path / "models" / name).read_bytes())
    assert find_scores(copy, TASKS, tmp_path / "metrics")["rows"] == project.scores(name)["rows"]
    assert not find_scores(copy, TASKS)["rows"], "and without a folder none is found beside it"


def test_find_scores_asks_for_the_models_own_tasks(project, tmp_path):
    (tmp_path / "metrics/detection.json").unlink()
    assert set(rows(project.scores("best_model.pth", ("segmentation",)))) == {"mIoU", "Dice"}


@pytest.mark.parametrize("name", MODELS)
def test_find_scores_of_another_model_of_the_same_name(project, name):
    project.write(f"models/{name}", "trained again")
    scores = project.scores(name)
    assert scores["rows"] == [] and "were measured on another model" in scores["about"]


def test_find_scores_of_an_export_of_another_checkpoint(project):
    project.lock["evaluate"]["deps"][0]["md5"] = "0" * 32
    project.write_lock()
    for name in MODELS:
        assert project.scores(name)["rows"] == [], name
    assert "measured on another checkpoint" in project.scores("panvision.onnx")["about"]


@pytest.mark.parametrize("name", MODELS)
def test_find_scores_refuses_changed_metrics(project, name):
    path = project.folder / "metrics/segmentation.json"
    write_json(path, json.loads(path.read_text()) | {"miou": 0.99})
    scores = project.scores(name)
    assert scores["rows"] == [] and "segmentation.json is not what the pipeline's last run wrote" in scores["about"]


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("dvc.lock", None, "there is no"),
        ("dvc.lock", "stages: [", "is damaged"),
        ("dvc.lock", "stages: {evaluate: {deps: [{}]}}", "is damaged"),
        ("dvc.lock", "stages: {}", "were measured on another model"),
        ("metrics/classification.json", None, "cannot be read"),
    ],
)
def test_find_scores_without_usable_records(project, name, text, reason):
    (project.folder / name).unlink()
    if text is not None:
        project.write(name, text)
    scores = project.scores("best_model.pth")
    assert (
        scores["rows"] == []
        and reason in scores["about"]
        and scores["about"].startswith("No metrics found for this file: ")
    )


def test_find_scores_without_metrics(project, tmp_path):
    assert "no folder of metrics" in project.scores("best_model.pth", metrics=tmp_path / "none")["about"]
