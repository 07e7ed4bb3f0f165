"""`panvision compare` with the real dvc: revisions, experiments, and what is missing."""

import json
import re
import shutil
from pathlib import Path

import pytest

from panvision.cli.main import main
from panvision.evaluation.results import Predictions
from panvision.experiments.revisions import WORKSPACE, RevisionError, predictions_of, results_of
from tests.evaluation.made import all_results
from tests.pipeline.scratch import Scratch

pytestmark = pytest.mark.pipeline

RESULTS = "reports/results"
PIPELINE = """\
stages:
  evaluate:
    cmd: python -c ""
    deps: [quality]
    params: [loss.cls]
    outs:
      - reports/results/segmentation.json
      - reports/results/detection.json
      - reports/results/classification.json
      - reports/results/predictions.json
"""


def evaluated(repo: Scratch, *, cls: float, **quality: float) -> None:
    """Write results as if the stage had made them."""
    (repo.folder / "quality").write_text(json.dumps(quality))
    (repo.folder / "params.yaml").write_text(f"loss:\n  cls: {cls}\n")
    for task, results in all_results(**quality).items():
        results.write(repo.folder / RESULTS / f"{task}.json")
    Predictions({"quality": quality}, []).write(repo.folder / RESULTS / "predictions.json")
    repo.dvc("commit", "--quiet", "--force")


@pytest.fixture(scope="module")
def repo(tmp_path_factory) -> Scratch:
    """A commit without results, one with poor ones, an experiment and a workspace with better masks."""
    repo = Scratch.empty(tmp_path_factory.mktemp("compare"))
    repo.commit("empty")
    repo.run("git", "tag", "empty")
    (repo.folder / ".gitignore").write_text("/reports/\n")
    (repo.folder / "dvc.yaml").write_text(PIPELINE)
    evaluated(repo, cls=2.0, error=0.3)
    repo.commit("poor masks")
    repo.run("git", "tag", "poor")
    evaluated(repo, cls=4.0, error=0.1)
    repo.dvc("exp", "save", "--quiet", "--name", "good-masks")
    return repo


@pytest.fixture
def compare(repo, capsys):
    """Compares two revisions, returns the output."""

    def command(*arguments: str) -> str:
        assert main(["compare", *arguments, "--path", str(repo.folder)]) == 0
        return capsys.readouterr().out

    return command


def test_a_commit_an_experiment_and_the_workspace_are_compared(repo, compare):
    before = repo.run("git", "status", "--porcelain")
    found = {rev: json.loads(compare("poor", *rev, "--json")) for rev in ((), ("good-masks",))}
    for tasks in (each["tasks"] for each in found.values()):
        miou = tasks["segmentation"]["figures"]["miou"]
        assert miou["verdict"] == "better" and miou["low"] > 0 and tasks["segmentation"]["images"] == 12
        assert {each["verdict"] for each in tasks["detection"]["figures"].values()} <= {"within noise", "undefined"}
    assert found[()]["tasks"] == found["good-masks",]["tasks"]
    assert [each["params"] for each in found.values()] == [{"loss.cls": {"one": 2.0, "other": 4.0}}] * 2
    assert repo.run("git", "status", "--porcelain") == before  # nothing was checked out


def test_text_and_markdown(compare):
    said = compare("HEAD")
    assert said.startswith("segmentation    better  mIoU ") and "\ndetection       noise   mAP@0.5 " in said
    assert re.search(r"^segmentation: \d+ common test images in \d+ groups", said, re.MULTILINE)
    assert max(map(len, said.splitlines())) <= 80
    assert "\nparams: 1 differs\n" in said and "\n  loss.cls  2.0   4.0\n" in said
    said = compare("HEAD", "HEAD", "--markdown")
    assert said.startswith("- segmentation: noise ")
    rows = [line for line in said.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in rows} == {7}


def test_predictions_are_those_of_the_revision(repo):
    found = {rev: predictions_of(repo.folder, rev).model["quality"] for rev in ("poor", "good-masks", WORKSPACE)}
    assert found == {"poor": {"error": 0.3}, "good-masks": {"error": 0.1}, WORKSPACE: {"error": 0.1}}
    with pytest.raises(RevisionError, match=r"^empty:reports/results/predictions\.json: not in that revision"):
        predictions_of(repo.folder, "empty")


def test_missing_results_are_named_with_the_remedy(repo, tmp_path):
    with pytest.raises(RevisionError, match=r"^no-such: neither a git revision nor a DVC experiment.*dvc exp list"):
        results_of(repo.folder, "no-such")
    with pytest.raises(RevisionError, match=r"^empty:reports/results/segmentation\.json: not in that revision"):
        results_of(repo.folder, "empty")
    clone = tmp_path / "clone"
    repo.run("git", "clone", "--quiet", str(repo.folder), str(clone))
    with pytest.raises(
        RevisionError, match=r"^HEAD:reports/results/segmentation\.json: neither in.*git commit -am.*dvc fetch"
    ):
        results_of(clone, "HEAD")
    shutil.rmtree(clone)


def test_an_error_is_one_line(repo, capsys):
    assert main(["compare", "no-such", "--path", str(repo.folder)]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert main(["compare", "poor", "--path", str(Path(repo.folder).parent)]) == 1
    assert "dvc" in capsys.readouterr().err.lower()
