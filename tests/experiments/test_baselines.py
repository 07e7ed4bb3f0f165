import json
import subprocess

import pytest

from panvision.cli import baselines
from panvision.cli.baselines import BaselinesError, compare, read_runs
from panvision.cli.main import main
from panvision.core.tasks import TASKS
from panvision.report.inputs import BaselineMetrics
from tests.cli.shown import json_keys

SHARED = {
    "segmentation": {"miou": 0.8, "dice": 0.9, "images": 4},
    "detection": {"map50": 0.7, "images": 4},
    "classification": {"accuracy": 0.6, "balanced_accuracy": 0.5, "images": 4},
}


def state(rev, metrics, *, name=None, tasks=TASKS, time="2026-01-01T00:00:00", code="a", **params):
    """One state as DVC lists it. DVC leaves out what is null in a metrics file."""
    return {
        "rev": rev,
        "name": name,
        "error": None,
        "experiments": None,
        "data": {
            "rev": rev,
            "timestamp": None if rev == "workspace" else time,
            "params": {
                "params.yaml": {
                    "data": {
                        "seed": 42,
                        "tasks": list(tasks),
                        "loss": {"seg": params.get("seg", 1.0), "cls": 2.0},
                        "train": {"batch_size": params.get("batch_size", 16)},
                    }
                }
            },
            "metrics": {f"metrics/{task}.json": {"data": metrics.get(task, {})} for task in (*TASKS, "export")},
            "deps": {
                "src/panvision/training": {"hash": code, "size": 1, "nfiles": None},
                "models/best_model.pth": {"hash": rev, "size": 1, "nfiles": None},
                "metrics/baselines.json": {"hash": rev, "size": 1, "nfiles": None},
            },
            "outs": {"models/best_model.pth": {"hash": rev, "size": 1, "nfiles": None, "use_cache": True}},
            "meta": {},
        },
    }


def single(name, task, figures, *, executor=None, **changes):
    """An experiment on one task."""
    last = state(f"{name}00000", {task: figures}, name=name, tasks=[task], **changes)
    return {"revs": [last], "executor": executor, "name": name}


def shown(*experiments, shared=None, workspace=None):
    """What `dvc exp show --json` prints."""
    commit = shared or state("1234567890abcdef", SHARED, name="main")
    work = workspace or state("workspace", SHARED)
    return json.dumps([work, {**commit, "experiments": list(experiments) or None}])


def compared(*experiments, name=None, **states):
    found = compare(read_runs(shown(*experiments, **states)), name)
    BaselineMetrics.model_validate(found)
    return found


DETECTION = single("lone-pan", "detection", {"map50": 0.75})


def test_figures_stand_side_by_side_with_their_difference():
    found = compared(DETECTION, single("lone-mask", "segmentation", {"miou": 0.7, "dice": 0.95}))
    assert found == {
        "shared": "commit 1234567",
        "tasks": {
            "segmentation": {
                "experiment": "lone-mask",
                "also_differs": [],
                "figures": {
                    "miou": {"shared": 0.8, "alone": 0.7, "difference": 0.1},
                    "dice": {"shared": 0.9, "alone": 0.95, "difference": -0.05},
                },
            },
            "detection": {
                "experiment": "lone-pan",
                "also_differs": [],
                "figures": {
                    "map50": {"shared": 0.7, "alone": 0.75, "difference": -0.05},
                    "map50_95": {"shared": None, "alone": None, "difference": None},
                },
            },
        },
    }


def test_other_settings_and_sources_that_differ_are_named():
    found = compared(single("other", "detection", {"map50": 0.75}, batch_size=8, code="b"))
    assert found["tasks"]["detection"]["also_differs"] == ["src/panvision/training", "train.batch_size"]


def test_of_several_the_one_most_like_the_shared_counts_then_the_newest():
    other = single("other", "detection", {"map50": 0.1}, batch_size=8, time="2026-03-01T00:00:00")
    newer = single("newer", "detection", {"map50": 0.2}, time="2026-02-01T00:00:00")
    for order in ((DETECTION, other), (other, DETECTION)):
        assert compared(*order)["tasks"]["detection"]["experiment"] == "lone-pan"
    for order in ((DETECTION, newer, other), (newer, other, DETECTION)):
        assert compared(*order)["tasks"]["detection"]["experiment"] == "newer"


@pytest.mark.parametrize("condition", ["queued", "running", "failed"])
def test_an_experiment_that_is_not_done_does_not_count(condition):
    with pytest.raises(BaselinesError, match="no single-task experiment"):
        compared(single("early", "detection", {"map50": 0.75}, executor={"state": condition, "name": "x"}))
    done = single("late", "detection", {"map50": 0.75}, executor={"state": "success", "name": "x"})
    assert "detection" in compared(done)["tasks"]


def test_a_state_that_dvc_could_not_read_does_not_count():
    broken = {"revs": [{"rev": "x", "name": None, "data": None, "error": {"msg": "no"}, "experiments": None}]}
    found = compared({**broken, "executor": None, "name": "broken"}, DETECTION)
    assert set(found["tasks"]) == {"detection"}


def test_the_workspaces_own_run_is_the_baseline_only_without_an_experiment():
    alone = state("workspace", {"detection": {"map50": 0.3}}, tasks=["detection"])
    assert compared(workspace=alone)["tasks"]["detection"]["experiment"] == "workspace"
    assert compared(DETECTION, workspace=alone)["tasks"]["detection"]["experiment"] == "lone-pan"


def test_the_shared_run_is_the_one_that_the_baselines_differ_from_in_tasks_alone():
    """One's own photos, given by -S: the commit is the demo's, all experiments are not."""
    ours = state("aaaaaaaa", SHARED, name="ours", batch_size=4)
    ours = {"revs": [ours], "executor": None, "name": "ours"}
    alone = single("alone", "detection", {"map50": 0.75}, batch_size=4)
    assert compared(alone, ours)["shared"] == "ours"
    assert compared(alone, ours, name="commit")["shared"] == "commit 1234567"
    assert compared(alone, ours, name="commit")["tasks"]["detection"]["also_differs"] == ["train.batch_size"]
    # Nothing speaks for another one: the commit's own.
    assert compared(single("other", "detection", {"map50": 0.7}, batch_size=5), ours)["shared"] == "commit 1234567"


def test_a_name_that_no_shared_run_has_is_refused_with_those_there_are():
    with pytest.raises(
        BaselinesError, match=r"lone-pan: no run of several tasks .*: commit 1234567, lone-pan, workspace"
    ):
        compared(DETECTION, name="lone-pan")


def test_without_a_shared_run_or_a_single_one_the_remedy_is_said():
    with pytest.raises(BaselinesError, match=r"`dvc exp run -S 'tasks=\[segmentation\]'` makes one"):
        compared()
    alone = state("workspace", {"detection": {"map50": 0.3}}, tasks=["detection"])
    with pytest.raises(BaselinesError, match="no run of a shared model with figures"):
        compared(DETECTION, workspace=alone, shared=alone | {"rev": "1234567890"})


def test_a_commit_from_before_there_were_tasks_has_all_three():
    old = state("1234567890abcdef", SHARED, name="main")
    del old["data"]["params"]["params.yaml"]["data"]["tasks"]
    found = compared(DETECTION, shared=old)
    assert found["shared"] == "commit 1234567" and found["tasks"]["detection"]["also_differs"] == []


@pytest.mark.parametrize("text", ["", "{}", "[1]", '[{"rev": "a"}]', '[{"rev": "a", "data": {"params": 3}}]', "{"])
def test_what_dvc_does_not_print_is_refused(text):
    if text == "{}":
        assert read_runs(text) == []
        return
    with pytest.raises(BaselinesError, match="DVC 3 is needed"):
        read_runs(text)


@pytest.fixture
def dvc(monkeypatch):
    """Give the command's `dvc` an answer; get what it was called with."""
    calls = []

    def answer(text, code=0):
        def run(command, **options):
            calls.append((command, options["cwd"]))
            return subprocess.CompletedProcess(command, code, stdout=text, stderr="ERROR: no\nway")

        monkeypatch.setattr(baselines.subprocess, "run", run)
        return calls

    return answer


def test_the_command_prints_a_table_and_writes_the_same_bytes_each_time(dvc, tmp_path, capsys):
    calls = dvc(shown(DETECTION))
    assert main(["baselines", str(tmp_path), "--rev", "main"]) == 0
    text = capsys.readouterr().out
    rows = [line.split() for line in text.splitlines()]
    assert ["detection", "mAP@0.5", "0.700", "0.750", "-0.050"] in rows
    assert "shared: commit 1234567; alone: detection lone-pan" in text
    assert "no baseline yet: `dvc exp run -S 'tasks=[segmentation]'`, `dvc exp run -S 'tasks=[classification]'`" in text
    (command, folder) = calls[0]
    assert command[1:] == ["-m", "dvc", "exp", "show", "--json", "--rev", "main"] and folder == tmp_path
    written = (tmp_path / "metrics/baselines.json").read_bytes()
    assert main(["baselines", str(tmp_path)]) == 0
    assert (tmp_path / "metrics/baselines.json").read_bytes() == written


def test_an_error_is_one_line_and_leaves_the_file_as_it_was(dvc, tmp_path, capsys):
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics/baselines.json").write_text("old")
    for text, code, said in ((shown(), 0, "no single-task experiment"), ("", 1, "failed: ERROR: no way")):
        dvc(text, code)
        assert main(["baselines", str(tmp_path)]) == 1
        error = capsys.readouterr().err
        assert said in error and len(error.splitlines()) == 1
        assert (tmp_path / "metrics/baselines.json").read_text() == "old"


def test_programs_read_what_is_written_as_json(dvc, tmp_path, capsys):
    dvc(shown(DETECTION))
    assert main(["baselines", "--project", str(tmp_path), "--json"]) == 0
    text = capsys.readouterr()
    found = json.loads(text.out)
    assert found == json.loads((tmp_path / "metrics/baselines.json").read_text()) and not text.err
    assert set(found) <= json_keys("baselines")


def test_without_dvc_the_remedy_is_said(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(baselines.importlib.util, "find_spec", lambda name: None)
    assert main(["baselines", "--project", str(tmp_path)]) == 1
    assert "needs the package dvc, which is not installed; `pip install" in capsys.readouterr().err
