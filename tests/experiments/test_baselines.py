import json
import subprocess

import pytest

from panvision.cli.main import main
from panvision.core.tasks import TASKS
from panvision.experiments import baselines
from panvision.experiments.baselines import BaselinesError, compare
from panvision.report.inputs import BaselineMetrics
from tests.cli.shown import json_keys
from tests.experiments.shown import commit, data, experiment, printed

SHARED = {
    "segmentation": {"miou": 0.8, "dice": 0.9, "images": 4},
    "detection": {"map50": 0.7, "images": 4},
    "classification": {"accuracy": 0.6, "balanced_accuracy": 0.5, "images": 4},
}


def run(metrics, *, tasks=TASKS, batch_size=16, time="2026-01-01T00:00:00", code="a"):
    loss, train = {"seg": 1.0, "cls": 2.0}, {"batch_size": batch_size}
    return data(metrics, time=time, code=code, seed=42, tasks=list(tasks), loss=loss, train=train)


def single(name, task, metrics, *, state="success", **changes):
    return experiment(name, run({task: metrics}, tasks=[task], **changes), state=state)


def shown(*experiments, shared=None, workspace=None):
    return printed(commit(workspace or run(SHARED), rev="workspace"), commit(shared or run(SHARED), *experiments))


def compared(*experiments, name=None, **states):
    found = compare(shown(*experiments, **states), name)
    BaselineMetrics.model_validate(found)
    return found


DETECTION = single("lone-pan", "detection", {"map50": 0.75})


def test_metrics_side_by_side_with_their_difference():
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


def test_other_settings_and_sources_are_named():
    found = compared(single("other", "detection", {"map50": 0.75}, batch_size=8, code="b"))
    assert found["tasks"]["detection"]["also_differs"] == ["src/panvision/training", "train.batch_size"]


def test_the_most_similar_then_the_newest_experiment_counts():
    other = single("other", "detection", {"map50": 0.1}, batch_size=8, time="2026-03-01T00:00:00")
    newer = single("newer", "detection", {"map50": 0.2}, time="2026-02-01T00:00:00")
    for order in ((DETECTION, other), (other, DETECTION)):
        assert compared(*order)["tasks"]["detection"]["experiment"] == "lone-pan"
    for order in ((DETECTION, newer, other), (newer, other, DETECTION)):
        assert compared(*order)["tasks"]["detection"]["experiment"] == "newer"


def test_an_unfinished_experiment_does_not_count():
    with pytest.raises(BaselinesError, match="no single-task experiment"):
        compared(single("early", "detection", {"map50": 0.75}, state="queued"))


def test_an_experiment_goes_before_the_workspace():
    alone = run({"detection": {"map50": 0.3}}, tasks=["detection"])
    assert compared(workspace=alone)["tasks"]["detection"]["experiment"] == "workspace"
    assert compared(DETECTION, workspace=alone)["tasks"]["detection"]["experiment"] == "lone-pan"


def test_the_shared_run_differs_in_tasks_alone():
    """Own photos, given by -S: the commit is the demo's, all experiments are not."""
    ours = experiment("ours", run(SHARED, batch_size=4))
    alone = single("alone", "detection", {"map50": 0.75}, batch_size=4)
    assert compared(alone, ours)["shared"] == "ours"
    assert compared(alone, ours, name="commit")["shared"] == "commit 1234567"
    assert compared(alone, ours, name="commit")["tasks"]["detection"]["also_differs"] == ["train.batch_size"]
    # None differs in tasks alone: the commit's own run counts.
    assert compared(single("other", "detection", {"map50": 0.7}, batch_size=5), ours)["shared"] == "commit 1234567"


def test_an_unknown_shared_run_is_refused_with_the_known_ones():
    with pytest.raises(BaselinesError, match=r"lone-pan: no run of several tasks .*: commit 1234567, lone-pan, works"):
        compared(DETECTION, name="lone-pan")


def test_without_a_shared_or_a_single_run_the_remedy_is_given():
    with pytest.raises(BaselinesError, match=r"`dvc exp run -S 'tasks=\[segmentation\]'` makes one"):
        compared()
    alone = run({"detection": {"map50": 0.3}}, tasks=["detection"])
    with pytest.raises(BaselinesError, match="no run of a shared model has metrics"):
        compared(DETECTION, workspace=alone, shared=alone)


def test_an_old_commit_without_the_param_tasks_has_all_three():
    old = run(SHARED)
    del old["params"]["params.yaml"]["data"]["tasks"]
    found = compared(DETECTION, shared=old)
    assert found["shared"] == "commit 1234567" and found["tasks"]["detection"]["also_differs"] == []


@pytest.fixture
def dvc(monkeypatch):
    """Gives the command's `dvc` an answer; returns its calls."""
    calls = []

    def answer(text, code=0):
        def called(command, **options):
            if command[0] == "git":
                return subprocess.CompletedProcess(command, 1, stdout="", stderr="no such revision")
            calls.append((command, options["cwd"]))
            return subprocess.CompletedProcess(command, code, stdout=text, stderr="ERROR: no\nway")

        monkeypatch.setattr(baselines.subprocess, "run", called)
        return calls

    return answer


def test_command_prints_a_table_and_writes_equal_bytes(dvc, tmp_path, capsys):
    calls = dvc(shown(DETECTION))
    assert main(["baselines", str(tmp_path), "--rev", "main"]) == 0
    text = capsys.readouterr().out
    assert ["detection", "mAP@0.5", "0.700", "0.750", "-0.050"] in [line.split() for line in text.splitlines()]
    assert "shared: commit 1234567; alone: detection lone-pan" in text
    assert "no baseline yet: `dvc exp run -S 'tasks=[segmentation]'`, `dvc exp run -S 'tasks=[classification]'`" in text
    (command, folder) = calls[0]
    assert command[1:] == ["-m", "dvc", "exp", "show", "--json", "--rev", "main"] and folder == tmp_path
    written = (tmp_path / "metrics/baselines.json").read_bytes()
    assert main(["baselines", "--project", str(tmp_path), "--json"]) == 0
    output = capsys.readouterr()
    found = json.loads(output.out)
    assert found == json.loads(written) and not output.err and set(found) <= json_keys("baselines")
    assert (tmp_path / "metrics/baselines.json").read_bytes() == written


def test_command_error_is_one_line_and_leaves_the_file(dvc, monkeypatch, tmp_path, capsys):
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics/baselines.json").write_text("old")
    answers = ((shown(), 0, "no single-task experiment"), ("", 1, "failed: ERROR: no way"), ("", 0, "not the output"))
    for text, code, message in answers:
        dvc(text, code)
        assert main(["baselines", str(tmp_path)]) == 1
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1
        assert (tmp_path / "metrics/baselines.json").read_text() == "old"
    monkeypatch.setattr(baselines.importlib.util, "find_spec", lambda name: None)
    assert main(["baselines", "--project", str(tmp_path)]) == 1
    assert "needs the package dvc, which is not installed; `pip install" in capsys.readouterr().err
