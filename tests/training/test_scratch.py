import multiprocessing
import os
import time

from panvision.training.scratch import KEPT_FOLDERS, KEPT_SECONDS, Scratch, scratch_below
from panvision.training.state import StateFolder


def test_the_folder_is_moved_by_the_environment(tmp_path):
    assert Scratch.of_stage({}).folder.as_posix() == ".panvision/scratch"
    assert Scratch.of_stage({"PANVISION_SCRATCH": "/disk"}).folder.as_posix() == "/disk"
    assert scratch_below(tmp_path, {}).folder == tmp_path
    assert scratch_below(tmp_path, {"PANVISION_SCRATCH": "/disk"}).folder.as_posix() == "/disk"


def test_dvcs_lock_tells_what_is_stored(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    by_dvc, by_hand = Scratch.of_stage({"DVC_STAGE": "train_phase1"}), Scratch.of_stage({})
    assert not by_dvc.stored("a1b2") and by_hand.lock is None
    (tmp_path / "dvc.lock").write_text("stages:\n  train_phase1:\n    outs:\n    - md5: a1b2\n")
    assert by_dvc.stored("a1b2") and not by_dvc.stored("ffff") and not by_hand.stored("a1b2")


def training(folder, name, age):
    """A folder whose state was written `age` seconds ago."""
    (folder / name).mkdir(parents=True)
    state = folder / name / "state-000000001-000000.pt"
    state.write_bytes(b"")
    os.utime(state, (time.time() - age, time.time() - age))


def test_the_newest_trainings_are_kept_and_none_that_is_too_old(tmp_path):
    for number in range(6):
        training(tmp_path, f"recent{number}", 100 * number)
    Scratch(tmp_path).prune("recent5")
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"recent0", "recent1", "recent2", "recent5"} and len(names) == KEPT_FOLDERS
    training(tmp_path / "old", "old", KEPT_SECONDS + 60)
    training(tmp_path / "old", "young", KEPT_SECONDS - 60)
    training(tmp_path / "old", "current", KEPT_SECONDS + 60)
    Scratch(tmp_path / "old").prune("current")
    assert {path.name for path in (tmp_path / "old").iterdir()} == {"young", "current"}
    Scratch(tmp_path / "missing").prune("current")


def test_a_training_that_runs_is_not_removed(tmp_path):
    training(tmp_path, "running", KEPT_SECONDS + 60)

    def prune():
        """In another process: a lock is no obstacle to the one that holds it."""
        process = multiprocessing.get_context("fork").Process(target=Scratch(tmp_path).prune, args=("other",))
        process.start()
        process.join()
        assert process.exitcode == 0

    with StateFolder(tmp_path / "running", "f"):
        os.utime(tmp_path / "running/lock", (0, 0))
        prune()
        assert (tmp_path / "running/state-000000001-000000.pt").exists()
    prune()
    assert not (tmp_path / "running").exists()
