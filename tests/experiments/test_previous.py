import json
import subprocess

import pytest

from panvision.cli.main import main
from panvision.core.files import write_json
from panvision.core.tasks import TASKS
from panvision.evaluation.results import ResultsError
from panvision.experiments import previous
from panvision.experiments.revisions import RevisionError
from panvision.report.metrics import read_previous
from tests.cli.shown import json_keys
from tests.evaluation.made import all_results

FIGURES = {
    "segmentation": {"images": 4, "miou": 0.8, "iou": {"pan": 0.7}, "ci95": {"miou": {"low": 0.7, "high": 0.9}}},
    "detection": {"images": 4, "map50": 0.5, "ap50": {"lid": None}, "threshold": {"lid": 0.4}},
    "classification": {"images": 4, "accuracy": 0.25, "nll": 1.0},
}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with one commit, whose metrics are those of the workspace but for mIoU; no per-image results."""
    for name in ("GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"):
        monkeypatch.setenv(name, "tester@example.com")
    monkeypatch.setattr(previous, "results_of", missing)
    git(tmp_path, "init", "--quiet")
    write(tmp_path)
    commit(tmp_path)
    write(tmp_path, miou=0.85)
    return tmp_path


def missing(project, rev):
    raise RevisionError(f"{rev}: not in that revision")


def git(folder, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def write(folder, miou: float = 0.8) -> None:
    for task in TASKS:
        values = {**FIGURES[task], "miou": miou} if task == "segmentation" else FIGURES[task]
        write_json(folder / f"metrics/{task}.json", values)


def commit(folder) -> str:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "figures")
    return git(folder, "rev-parse", "HEAD")


def command(folder, *arguments: str) -> int:
    return main(["previous", "--path", str(folder), *arguments])


def test_the_last_commits_metrics_are_kept(project, capsys) -> None:
    assert command(project) == 0
    found = json.loads((project / "metrics/previous.json").read_text())
    assert found["commit"] == f"commit {git(project, 'rev-parse', 'HEAD')[:7]}"
    assert found["tasks"]["segmentation"] == {
        "miou": {"value": 0.8, "present": 0.85, "difference": None},
        "iou.pan": {"value": 0.7, "present": 0.7, "difference": None},
    }
    assert found["tasks"]["detection"].keys() == {"map50", "ap50.lid"}  # neither counts nor chosen thresholds
    said = capsys.readouterr().out
    assert "segmentation    mIoU                              0.800      0.850      +0.050\n" in said
    assert "AP@0.5, lid                       undefined  undefined  undefined\n" in said
    assert "without paired intervals: " in said and "`dvc repro report`" in said
    assert read_previous(project / "metrics/previous.json").tasks["classification"]["accuracy"].value == 0.25


def test_a_commit_with_the_same_metrics_is_skipped(project, capsys) -> None:
    first = git(project, "rev-parse", "HEAD")
    commit(project)
    (project / "README").write_text("nothing measured")
    commit(project)
    assert command(project) == 0
    assert json.loads((project / "metrics/previous.json").read_text())["commit"] == f"commit {first[:7]}"
    before = (project / "metrics/previous.json").read_bytes()
    commit(project)
    assert command(project) == 0
    assert (project / "metrics/previous.json").read_bytes() == before


def test_a_commit_can_be_named(project) -> None:
    commit(project)
    write(project, miou=0.9)
    assert command(project, "HEAD~1") == 0
    assert read_previous(project / "metrics/previous.json").tasks["segmentation"]["miou"].value == 0.8


def test_a_project_below_the_repositorys_root(tmp_path, project) -> None:
    below = project / "below"
    write(below, miou=0.3)
    commit(project)
    write(below, miou=0.4)
    assert command(below) == 0
    assert read_previous(below / "metrics/previous.json").tasks["segmentation"]["miou"].value == 0.3


def test_paired_intervals_come_with_the_results_of_both(project, monkeypatch, capsys) -> None:
    results = {"workspace": all_results(error=0.1)}
    monkeypatch.setattr(previous, "results_of", lambda folder, rev: results.get(rev, all_results(error=0.4)))
    assert command(project) == 0
    figures = read_previous(project / "metrics/previous.json").tasks["segmentation"]
    difference = figures["miou"].difference
    assert difference is not None and 0.0 < difference.low < difference.high
    assert "+0.050      better" in capsys.readouterr().out

    def damaged(folder, rev):
        raise ResultsError("segmentation.json: damaged")

    monkeypatch.setattr(previous, "results_of", damaged)
    assert command(project) == 0
    assert "without paired intervals: segmentation.json: damaged" in capsys.readouterr().out


@pytest.mark.parametrize("rev", ["none", "HEAD:metrics", "-h^", ""])
def test_an_unknown_revision_is_reported(project, capsys, rev) -> None:
    assert command(project, "--", rev) == 1
    assert f"{rev}^{{commit}}` failed: " in capsys.readouterr().err
    assert not (project / "metrics/previous.json").exists()


def test_missing_or_damaged_metrics_are_reported(project, tmp_path, capsys) -> None:
    write(project)
    assert command(project) == 1
    assert "no commit has other test metrics than the present ones" in capsys.readouterr().err
    (project / "metrics/detection.json").write_text("[]")
    commit(project)
    write(project)
    assert command(project, "HEAD") == 1
    assert "metrics/detection.json: no metrics (" in capsys.readouterr().err
    (project / "metrics/detection.json").unlink()
    assert command(project) == 1
    assert "metrics/detection.json: cannot be read: " in capsys.readouterr().err
    assert not (project / "metrics/previous.json").exists()


@pytest.mark.process
def test_a_folder_without_git_is_reported(tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    write(tmp_path)
    assert command(tmp_path) == 1
    assert "not a git repository" in capsys.readouterr().err


def test_command_prints_json(project, capsys) -> None:
    assert command(project, "--json") == 0
    text = capsys.readouterr()
    found = json.loads(text.out)
    assert found == json.loads((project / "metrics/previous.json").read_text())
    assert set(found) <= json_keys("previous")
    assert text.err.startswith("without paired intervals: ") and len(text.err.splitlines()) == 1
