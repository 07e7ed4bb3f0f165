import json
import math
import subprocess
from pathlib import Path

import pytest
from scipy import stats

from benchmarks import ladder

RUNGS = """
preset: laptop
set: [split.method=balanced]
rungs:
  - name: first
    set: [loss.cls=4.0]
  - name: second
    set: [loss.seg=3.0]
  - name: third
    add_to: first
    set: [loss.det=2.0]
    single: true
"""


@pytest.fixture
def rungs(tmp_path):
    (tmp_path / "rungs.yaml").write_text(RUNGS)
    return ladder.read_rungs(tmp_path / "rungs.yaml", tmp_path / "data")


@pytest.fixture
def calls(monkeypatch):
    """The stages that were called, by folder; each evaluation scores 0.5 in the tasks of its params."""
    found = []

    def run(command, cwd, **_):
        found.append((cwd, Path(command[1]).name, *command[2:]))
        if command[1].endswith("evaluate.py"):
            tasks = ladder.load_params(cwd / "params.yaml")["tasks"]
            for task in {task for task, _ in ladder.METRICS.values()}:
                values = {key: 0.5 if task in tasks else None for own, key in ladder.METRICS.values() if own == task}
                (cwd / "metrics").mkdir(exist_ok=True)
                (cwd / f"metrics/{task}.json").write_text(json.dumps(values))
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(ladder.subprocess, "run", run)
    return found


def test_each_rung_adds_to_the_one_before_or_to_the_named_one(rungs, tmp_path):
    weights = [[rung.params["loss"][name] for name in ("seg", "det", "cls")] for rung in rungs]
    assert weights == [[1.0, 1.0, 4.0], [3.0, 1.0, 4.0], [1.0, 2.0, 4.0]]
    assert [rung.parent for rung in rungs] == [None, "first", "first"]
    assert all(rung.params["data"]["root"] == str(tmp_path / "data") for rung in rungs)
    assert all(rung.params["split"]["method"] == "balanced" for rung in rungs)


def test_finished_runs_are_kept_and_changed_ones_repeated(rungs, calls, tmp_path):
    row = ladder.train(rungs[0], 7, 3, tmp_path / "out")
    params = ladder.load_params(tmp_path / "out/params.yaml")
    assert row["accuracy"] == 0.5 and params["seed"] == 7 and params["split"]["seed"] == 3
    assert [name for _, name, *_ in calls].count("train.py") == 2
    count = len(calls)
    assert ladder.train(rungs[0], 7, 3, tmp_path / "out") == row and len(calls) == count
    ladder.train(rungs[1], 7, 3, tmp_path / "out")
    assert len(calls) == 2 * count


def test_single_tasks_are_three_models_in_one_row(rungs, calls, tmp_path):
    row = ladder.train(rungs[2], 1, 1, tmp_path)
    assert {"mIoU", "mAP", "accuracy", "minutes"} <= row.keys()
    folders = {folder.name for folder, *_ in calls}
    assert folders == {"segmentation", "detection", "classification"}


def test_interval_is_students():
    differences = [0.01, 0.03, 0.02, 0.04]
    low, high = stats.t.interval(0.95, 3, loc=0.025, scale=stats.sem(differences))
    assert ladder.interval(differences) == f"{low:+.3f} to {high:+.3f} *"
    assert ladder.interval([-0.1, 0.1, 0.0]).endswith("+0.248") and ladder.interval([0.1, 0.2]) == "few runs"


def test_spread_is_over_seeds_within_a_split():
    rows = {(1, 1): {"mIoU": 0.5}, (1, 2): {"mIoU": 0.7}, (2, 1): {"mIoU": 0.1}, (2, 2): {"mIoU": 0.3}}
    assert ladder.spread(rows, "mIoU") == pytest.approx(math.sqrt(0.02))
