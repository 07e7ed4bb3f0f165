"""The real `dvc repro`, interrupted while it trains, and repeated."""

import shutil
import subprocess
import sys

import pytest
from ruamel.yaml import YAML

from tests.pipeline.scratch import Scratch, environment, read_yaml

pytestmark = [pytest.mark.pipeline, pytest.mark.xdist_group("pipeline")]

OUTPUTS = ("models/best_model.pth", "reports/curves/phase2.csv")


@pytest.fixture
def before_phase2(scratch, tmp_path) -> Scratch:
    """A copy of the scratch repository in which phase 2 has never run."""
    copy = Scratch(tmp_path / "repo", tmp_path / "record", environment(tmp_path))
    shutil.copytree(scratch.folder, copy.folder, symlinks=True)
    shutil.rmtree(copy.folder / ".dvc/cache/runs")  # or DVC would take phase 2's outputs from there
    shutil.rmtree(copy.folder / ".panvision", ignore_errors=True)
    for name in OUTPUTS:
        (copy.folder / name).unlink()
    lock = copy.folder / "dvc.lock"
    values = read_yaml(lock)
    del values["stages"]["train_phase2"]
    with lock.open("w") as stream:
        YAML().dump(values, stream)
    return copy


def repro(scratch, *arguments, kill=None):
    """`dvc repro`, phase 2 interrupted if asked for."""
    command = [sys.executable, "-m", "dvc", "repro", *arguments]
    env = scratch.env | ({"PANVISION_KILL": kill} if kill else {})
    return subprocess.run(command, cwd=scratch.folder, env=env, capture_output=True, text=True, check=False)


def test_killed_phase_resumes_to_the_uninterrupted_lock(scratch, before_phase2):
    expected = read_yaml(scratch.folder / "dvc.lock")
    killed = repro(before_phase2, kill="phase2 1 SIGKILL")
    assert killed.returncode != 0 and "failed to reproduce 'train_phase2'" in killed.stderr
    assert not any((before_phase2.folder / name).exists() for name in OUTPUTS)
    assert "train_phase2" not in read_yaml(before_phase2.folder / "dvc.lock")["stages"]
    # The kill came before step 1 was counted, so this run starts from step 1; SIGTERM lets it finish the step and save.
    stopped = repro(before_phase2, kill="phase2 1 SIGTERM")
    assert stopped.returncode != 0 and "exited with 75" in stopped.stderr
    assert "phase2: stopped by SIGTERM after step 1, training checkpoint saved" in stopped.stderr
    killed = repro(before_phase2, kill="phase2 2 SIGKILL")
    assert "phase2: resumed from step 1 (epoch 1)" in killed.stdout and killed.returncode != 0
    done = repro(before_phase2)
    assert done.returncode == 0, done.stderr
    assert "phase2: resumed from step 1 (epoch 1)" in done.stdout
    assert read_yaml(before_phase2.folder / "dvc.lock") == expected
    assert before_phase2.run("git", "status", "--porcelain", "metrics", "params.yaml") == ""


def test_a_forced_run_trains_again_to_the_same_lock(scratch, before_phase2):
    """A phase whose outputs were lost before DVC stored them does not train again: it has kept the best model."""
    expected = read_yaml(scratch.folder / "dvc.lock")["stages"]
    lock = before_phase2.folder / "dvc.lock"
    values = read_yaml(lock)
    for stage in ("evaluate", "export", "report"):  # they name phase 2's output, too
        del values["stages"][stage]
    with lock.open("w") as stream:
        YAML().dump(values, stream)
    by_hand = Scratch(before_phase2.folder, before_phase2.record, before_phase2.env | {"DVC_STAGE": "train_phase2"})
    assert "phase2   1/1 train" in by_hand.run(sys.executable, "stages/train.py", "phase2")
    taken = before_phase2.dvc("repro", "train_phase2")
    assert "phase2: trained to the end at" in taken
    assert "phase2   1/1 train" not in taken
    for phase in ("phase1", "phase2"):
        forced = before_phase2.dvc("repro", "--force", "--single-item", f"train_{phase}")
        assert f"{phase}   1/1 train" in forced
        assert "trained to the end" not in forced
    found = read_yaml(lock)["stages"]
    assert found["train_phase1"] == expected["train_phase1"]
    assert found["train_phase2"] == expected["train_phase2"]
