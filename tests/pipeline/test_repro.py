"""The real `dvc` on the whole pipeline, with tiny settings."""

import json
import re

import pytest
from dvc.repo import Repo

from panvision.cli.main import main
from panvision.core.tasks import TASKS
from panvision.evaluation.results import read_results
from panvision.inference.predictor import Predictor
from tests.pipeline.imports import reached_files

pytestmark = [pytest.mark.pipeline, pytest.mark.xdist_group("pipeline")]

TRAINING_AND_LATER = ["train_phase1", "train_phase2", "evaluate", "export", "report"]


def stages_run(output: str) -> list[str]:
    return re.findall(r"^Running stage '(.+)':$", output, flags=re.MULTILINE)


def test_a_second_run_with_nothing_changed_runs_nothing(scratch):
    output = scratch.dvc("repro")
    assert stages_run(output) == []
    assert "Data and pipelines are up to date." in output
    assert scratch.run("git", "status", "--porcelain") == ""


def test_metrics_are_valid_json_with_what_the_contract_names(scratch):
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    def metrics(name):
        text = (scratch.folder / f"metrics/{name}.json").read_text()
        return json.loads(text, parse_constant=refuse)

    assert {"miou", "iou", "dice", "boundary_mean_px", "ci95"} <= set(metrics("segmentation"))
    assert {"map50", "map50_95", "ap50", "map_small", "f1", "ci95"} <= set(metrics("detection"))
    assert {"accuracy", "balanced_accuracy", "recall", "ece", "mae_states", "ci95"} <= set(metrics("classification"))
    assert {"segmentation", "detection", "classification", "problems"} <= set(metrics("data"))
    assert {"parity", "scores", "int8", "answers", "size_mb", "sha256"} == set(metrics("export"))
    assert set(metrics("export")["int8"]) == {"accepted", "drop"}


def test_revisions_are_compared_from_the_cache_alone(scratch, capsys):
    assert main(["compare", "HEAD", "--path", str(scratch.folder), "--json"]) == 0
    tasks = json.loads(capsys.readouterr().out)["tasks"]
    for task, found in tasks.items():
        results = read_results(scratch.folder / f"reports/results/{task}.json")
        assert found["images"] == len(results.images) > 0 and found["only_one"] == found["only_other"] == 0
        assert {each["verdict"] for each in found["figures"].values()} <= {"within noise", "undefined"}
        if task == "classification":
            assert results.order == ["raw", "translucent", "golden", "browned", "burnt"]


def test_a_device_fetches_an_artifact_by_its_version(scratch, tmp_path):
    with Repo(str(scratch.folder)) as repo:
        (artifacts,) = repo.artifacts.read().values()
        outs = {out.def_path for stage in repo.index.stages for out in stage.outs}
    assert set(artifacts) == {"panvision", "panvision-int8", "panvision-checkpoint"}
    for artifact in artifacts.values():
        assert artifact.type == "model" and artifact.desc and artifact.labels and artifact.path in outs
    scratch.run("git", "tag", "--annotate", "panvision-int8@v1.0.0", "--message", "a version")
    out = tmp_path / "device.onnx"
    scratch.dvc("artifacts", "get", str(scratch.folder), "panvision-int8", "--rev", "v1.0.0", "--out", str(out))
    assert out.read_bytes() == (scratch.folder / artifacts["panvision-int8"].path).read_bytes()
    assert Predictor.load(out).tasks == tuple(TASKS)


def test_the_plots_that_dvc_yaml_names_are_there(scratch):
    with Repo(str(scratch.folder)) as repo:
        shown = repo.plots.show()
    for source in shown["workspace"]["sources"]["data"].values():
        assert "error" not in source
    scratch.dvc("plots", "show", "--out", str(scratch.record / "plots"))
    page = (scratch.record / "plots/index.html").read_text()
    assert "vegaEmbed(" in page and not re.search(r"<script[^>]+src=", page)  # nothing is fetched
    columns = (
        "val_total",
        "miou",
        "map50",
        "accuracy",
        "predicted",
        "precision",
        "grad_norm",
        "seen_detection",
        "confidence",
    )
    assert all(column in page for column in (*columns, "backbone_lr", "weight_cls"))


def test_what_a_stage_imported_is_what_the_import_walk_found(scratch):
    """The static walk that holds dvc.yaml against the code misses nothing that really happens."""
    with Repo(str(scratch.folder)) as repo:
        commands = [stage.cmd for stage in repo.index.stages]
    source = scratch.folder / "src"
    for command in commands:
        # The recorder itself imports panvision.core.params, which every stage script does too.
        imported = scratch.recorded(command, "modules")
        assert str(source / "panvision/core/params.py") in imported
        reached = {str(path) for path in reached_files(scratch.folder / command.split()[1], source)}
        assert imported <= reached, command


def test_an_experiment_on_a_loss_weight_retrains_and_compares(scratch):
    prepared = (scratch.folder / "build/prepared/detection/images.npy").stat().st_mtime_ns
    try:
        # The last two run in the experiment of test_baselines; here it is enough that they would.
        *run, _, _ = TRAINING_AND_LATER
        assert stages_run(scratch.dvc("exp", "run", "--set-param", "loss.cls=4.0", "evaluate")) == run
        with Repo(str(scratch.folder)) as repo:
            assert {address.split(":")[-1] for address in repo.status()} == set(TRAINING_AND_LATER) - set(run)
        assert (scratch.folder / "build/prepared/detection/images.npy").stat().st_mtime_ns == prepared
        changed = json.loads(scratch.dvc("params", "diff", "--json"))
        assert changed == {"params.yaml": {"loss.cls": {"old": 2.0, "new": 4.0, "diff": 2.0}}}
        metrics = json.loads(scratch.dvc("metrics", "diff", "--all", "--json"))
        assert set(metrics) == {"metrics/summary.json"}
        assert {"old", "new"} <= set(metrics["metrics/summary.json"]["accuracy"])
        for command in (("metrics", "show"), ("metrics", "diff")):
            assert max(map(len, scratch.dvc(*command).splitlines())) <= 120, command
        assert "| Path" in scratch.dvc("metrics", "diff", "--all", "--md")
    finally:
        scratch.run("git", "checkout", "--quiet", ".")
        scratch.dvc("checkout", "--quiet")
