"""The real `dvc`: a single-task experiment, compared with the shared model, shown in the report."""

import csv
import json
import re
import sys

import onnx
import pytest

from tests.pipeline.scratch import Scratch
from tests.pipeline.test_repro import TRAINING_AND_LATER, stages_run

pytestmark = [pytest.mark.pipeline, pytest.mark.xdist_group("pipeline")]


def panvision(scratch: Scratch, *arguments: str) -> str:
    return scratch.run(sys.executable, "-m", "panvision.cli.main", *arguments)


def metrics(scratch: Scratch, name: str) -> dict:
    return json.loads((scratch.folder / f"metrics/{name}.json").read_text())


def restore(scratch: Scratch) -> None:
    scratch.run("git", "checkout", "--quiet", ".")
    scratch.dvc("checkout", "--quiet")


@pytest.fixture(scope="module")
def shared(scratch) -> dict:
    """The shared model's detection figures."""
    return metrics(scratch, "detection")


@pytest.fixture(scope="module")
def experiment(scratch, shared):
    """The workspace after a single-task experiment; gives its output."""
    yield scratch.dvc("exp", "run", "-S", "tasks=[detection]")
    restore(scratch)


def test_the_experiment_runs_training_and_what_follows(experiment):
    assert stages_run(experiment) == ["validate", *TRAINING_AND_LATER]


def test_every_output_is_there_without_the_other_tasks(scratch, experiment):
    found = metrics(scratch, "detection")
    assert found["images"] and found["map50"] is not None
    segmentation = metrics(scratch, "segmentation")
    assert {"miou", "dice", "boundary_mean_px", "iou", "ci95"} <= set(segmentation)
    nested = [segmentation.pop("iou"), segmentation.pop("ci95")]
    assert segmentation.pop("ci95_null") is not None
    assert {value for figures in (segmentation, *nested) for value in figures.values()} == {None}
    classification = metrics(scratch, "classification")
    assert {classification[key] for key in ("images", "accuracy", "balanced_accuracy")} == {None}
    assert set(classification["recall"].values()) == {None}
    parity = metrics(scratch, "export")["parity"]
    assert parity["passed"] and parity["mask_probability"] is None and parity["box_score"] is not None
    outputs = [output.name for output in onnx.load(scratch.folder / "models/panvision.onnx").graph.output]
    assert outputs == ["class_logits", "ltrb", "centerness"]
    assert json.loads((scratch.folder / "models/config.json").read_text())["tasks"] == ["detection"]
    with (scratch.folder / "reports/curves/phase2.csv").open() as stream:
        (row,) = csv.DictReader(stream)
    assert row["train_det"] and row["val_total"] and not row["train_seg"] and not row["accuracy"]
    page = (scratch.folder / "reports/report.html").read_text()
    assert "Trained for detection only." in page and page.count("The model was not trained for this") == 2


def test_dvc_and_panvision_show_it(scratch, experiment):
    changed = json.loads(scratch.dvc("params", "diff", "--json"))
    assert set(changed["params.yaml"]) == {"tasks"}
    json.loads(scratch.dvc("metrics", "diff", "--all", "--json"))
    scratch.dvc("plots", "show", "--out", str(scratch.record / "plots of one task"))
    assert len(re.findall(r"not trained$", panvision(scratch, "summary"), flags=re.MULTILINE)) == 4
    assert panvision(scratch, "params").endswith("all settings are valid\n")
    for model in ("models/best_model.pth", "models/panvision.onnx"):
        options = ("--checkpoint", model, "--input_dir", "data/demo/detection/images", "--output_dir")
        said = panvision(scratch, "predict", *options, str(scratch.record / "predicted"), "--visualize")
        assert re.match(r"\S+: \d+ box(es)?\n", said)


def test_single_task_model_is_compared_and_reported(scratch, experiment, shared):
    alone = metrics(scratch, "detection")
    name = re.search(r"Ran experiment\(s\): (\S+)", experiment).group(1)
    restore(scratch)
    assert f"alone: detection {name}" in panvision(scratch, "baselines")
    found = metrics(scratch, "baselines")
    head = scratch.run("git", "rev-parse", "HEAD")[:7]
    assert found["shared"] == f"commit {head}" and set(found["tasks"]) == {"detection"}
    assert found["tasks"]["detection"]["also_differs"] == []
    figures = found["tasks"]["detection"]["figures"]["map50"]
    assert (figures["shared"], figures["alone"]) == (shared["map50"], alone["map50"])
    assert stages_run(scratch.dvc("repro")) == ["report"]
    page = (scratch.folder / "reports/report.html").read_text()
    cells = re.search(r"mAP@0\.5, detection</th>(.*?)</tr>", page).group(1)
    shown = re.findall(r">([^<]+)</td>", cells)
    assert shown == [f"{shared['map50']:.3f}", f"{alone['map50']:.3f}", f"{figures['difference']:+.3f}"]
    assert "not of the present run" not in page
    assert "shared - alone" in panvision(scratch, "summary")
