import errno
import io
import multiprocessing
import os
import time

import pytest
import torch

from panvision.training.checkpointing import (
    KEPT_FOLDERS,
    KEPT_SECONDS,
    CheckedWriter,
    DamagedError,
    SaveTimer,
    Scratch,
    TrainingCheckpoints,
    read_document,
    write_document,
)
from panvision.training.settings import TrainSettings

DOCUMENT = {"weights": torch.arange(6.0).reshape(2, 3), "step": 3, "rows": [{"lr": 0.1, "map50": None}]}


def checkpoints(folder, key="f" * 64, **scratch):
    return TrainingCheckpoints(Scratch(folder, **scratch), "phase1", key)


def names(folder):
    return sorted(path.name for path in folder.glob("*/*.pt*"))


class TestDocument:
    def test_comes_back_unchanged(self, tmp_path):
        write_document(tmp_path / "a.pt", DOCUMENT)
        read = read_document(tmp_path / "a.pt")
        assert torch.equal(read.pop("weights"), DOCUMENT["weights"])
        assert read == {"step": 3, "rows": [{"lr": 0.1, "map50": None}]}
        assert [path.name for path in tmp_path.iterdir()] == ["a.pt"]

    def test_every_changed_byte_is_noticed(self, tmp_path):
        path = tmp_path / "a.pt"
        write_document(path, DOCUMENT)
        whole = path.read_bytes()
        for place in (*range(0, len(whole), 97), len(whole) - 1):
            for damaged in (whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :], whole[:place]):
                path.write_bytes(damaged)
                with pytest.raises(DamagedError):
                    read_document(path)

    def test_nothing_in_it_is_executed(self, tmp_path):
        class Evil:
            def __reduce__(self):
                return (print, ("executed",))

        write_document(tmp_path / "a.pt", {"evil": Evil()})
        with pytest.raises(DamagedError, match="more than tensors and plain values"):
            read_document(tmp_path / "a.pt")

    @pytest.mark.parametrize("room", [0, 100, 1000])
    def test_full_disk_leaves_the_old_file(self, tmp_path, monkeypatch, room):
        write_document(tmp_path / "a.pt", DOCUMENT)
        before = (tmp_path / "a.pt").read_bytes()
        written = 0

        class Full(io.RawIOBase):
            def __init__(self, stream):
                self.stream = stream

            def write(self, data):
                nonlocal written
                written += len(data)
                if written > room:
                    raise OSError(errno.ENOSPC, "No space left on device")
                return self.stream.write(data)

        class Limited(CheckedWriter):
            def __init__(self, stream):
                super().__init__(Full(stream))

        monkeypatch.setattr("panvision.training.checkpointing.CheckedWriter", Limited)
        with pytest.raises(OSError, match="No space left on device"):
            write_document(tmp_path / "a.pt", DOCUMENT | {"step": 4})
        assert (tmp_path / "a.pt").read_bytes() == before
        assert [path.name for path in tmp_path.iterdir()] == ["a.pt"]


class TestTrainingCheckpoints:
    def test_newest_two_are_kept(self, tmp_path):
        with checkpoints(tmp_path) as own:
            for step in (1, 2, 10):
                own.save({"step": step}, step=step, epoch=0)
            assert names(tmp_path) == ["state-000000002-000000.pt", "state-000000010-000000.pt"]
            assert own.load()["step"] == 10
            own.save({"step": 10, "validated": True}, step=10, epoch=1)
            assert own.load()["validated"]

    def test_finished_replaces_all(self, tmp_path, capsys):
        with checkpoints(tmp_path) as own:
            own.save({}, step=1, epoch=0)
            own.finish({"outcome": 1}, "abc")
            assert own.load()["finished"] and names(tmp_path) == ["finished.pt"]
            assert "phase1: trained to the end at " in capsys.readouterr().out
            own.clear()
            assert own.load() is None

    def test_finished_model_that_dvc_has_is_trained_again(self, tmp_path):
        lock = tmp_path / "dvc.lock"
        lock.write_text("outs:\n- md5: abc\n")
        with checkpoints(tmp_path / "scratch", lock=lock) as own:
            own.finish({}, "abc")
            assert own.load() is None and not names(tmp_path / "scratch")

    @pytest.mark.parametrize(
        ("keep", "lock", "left"), [(False, False, False), (True, False, True), (False, True, True)]
    )
    def test_close_removes_what_nothing_needs(self, tmp_path, keep, lock, left):
        with checkpoints(tmp_path / "s", keep=keep, lock=tmp_path / "dvc.lock" if lock else None) as own:
            own.finish({}, "abc")
            own.close()
            assert own.folder.exists() is left

    def test_checkpoint_of_another_training_is_set_aside(self, tmp_path, capsys):
        with checkpoints(tmp_path, key="a" * 16 + "1") as own:
            own.save({}, step=1, epoch=0)
        with checkpoints(tmp_path, key="a" * 16 + "2") as own:
            assert own.load() is None
        said = capsys.readouterr().err
        assert said.count("\n") == 1 and "it belongs to another training; set aside as state-" in said
        assert "training starts from the first step" in said and names(tmp_path)[0].endswith(".damaged")

    def test_partial_files_of_killed_writers_are_removed(self, tmp_path):
        folder = tmp_path / f"phase1-{'f' * 16}"
        folder.mkdir()
        (folder / ".state-000000001-000000.pt.abc.partial").write_bytes(b"half")
        with checkpoints(tmp_path):
            assert [path.name for path in folder.iterdir()] == ["lock"]

    def test_folder_that_cannot_be_written_costs_one_warning(self, tmp_path, capsys):
        (tmp_path / "scratch").write_text("a file")
        with checkpoints(tmp_path / "scratch") as own:
            assert own.load() is None and not own.save({}, step=1, epoch=0)
            own.finish({}, "abc")
        said = capsys.readouterr().err
        assert said.count("\n") == 1 and "an interruption will cost the whole training; set PANVISION_SCRATCH" in said

    def test_full_disk_costs_one_warning_and_is_tried_again(self, tmp_path, monkeypatch, capsys):
        def full(path, document):
            raise OSError(errno.ENOSPC, "No space left on device")

        with checkpoints(tmp_path) as own:
            with monkeypatch.context() as patch:
                patch.setattr("panvision.training.checkpointing.write_document", full)
                assert [own.save({}, step=step, epoch=0) for step in (1, 2)] == [False, False]
            said = capsys.readouterr().err
            assert said.count("\n") == 1 and "cannot be saved (No space left on device); training continues" in said
            assert own.save({}, step=3, epoch=0)


class TestScratch:
    def test_environment_moves_the_folder(self, tmp_path, monkeypatch):
        monkeypatch.delenv("PANVISION_SCRATCH", raising=False)
        assert Scratch.of_stage().folder.as_posix() == ".panvision/scratch"
        assert Scratch.below(tmp_path).folder == tmp_path
        monkeypatch.setenv("PANVISION_SCRATCH", "/disk")
        assert Scratch.of_stage().folder.as_posix() == Scratch.below(tmp_path).folder.as_posix() == "/disk"

    def test_dvc_lock_says_what_is_stored(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        by_hand = Scratch.of_stage()
        monkeypatch.setenv("DVC_STAGE", "train_phase1")
        by_dvc = Scratch.of_stage()
        assert not by_dvc.stored("a1b2") and by_hand.lock is None
        (tmp_path / "dvc.lock").write_text("stages:\n  train_phase1:\n    outs:\n    - md5: a1b2\n")
        assert by_dvc.stored("a1b2") and not by_dvc.stored("ffff") and not by_hand.stored("a1b2")

    def test_prune_keeps_the_newest_and_none_too_old(self, tmp_path):
        for number in range(6):
            training(tmp_path, f"recent{number}", 100 * number)
        Scratch(tmp_path).prune("recent5")
        left = {path.name for path in tmp_path.iterdir()}
        assert left == {"recent0", "recent1", "recent2", "recent5"} and len(left) == KEPT_FOLDERS
        training(tmp_path / "old", "old", KEPT_SECONDS + 60)
        training(tmp_path / "old", "young", KEPT_SECONDS - 60)
        training(tmp_path / "old", "current", KEPT_SECONDS + 60)
        Scratch(tmp_path / "old").prune("current")
        assert {path.name for path in (tmp_path / "old").iterdir()} == {"young", "current"}
        Scratch(tmp_path / "missing").prune("current")

    @pytest.mark.skipif(os.name != "posix", reason="no fork")
    def test_prune_leaves_a_running_training(self, tmp_path):
        training(tmp_path, f"phase1-{'f' * 16}", KEPT_SECONDS + 60)

        def prune():
            """Prune in another process: a lock does not stop its owner."""
            process = multiprocessing.get_context("fork").Process(target=Scratch(tmp_path).prune, args=("other",))
            process.start()
            process.join()
            assert process.exitcode == 0

        with checkpoints(tmp_path) as own:
            os.utime(own.folder / "lock", (0, 0))
            prune()
            assert (own.folder / "state-000000001-000000.pt").exists()
        prune()
        assert not own.folder.exists()


def training(folder, name, age):
    """A folder whose checkpoint was written `age` seconds ago."""
    (folder / name).mkdir(parents=True)
    path = folder / name / "state-000000001-000000.pt"
    path.write_bytes(b"")
    os.utime(path, (time.time() - age, time.time() - age))


class Clock:
    seconds = 0.0

    def __call__(self):
        return self.seconds


@pytest.mark.parametrize(
    ("steps", "minutes", "due"),
    [
        (3, None, [3, 6, 9]),
        (None, 0.5, [3, 6, 9]),
        (4, 0.5, [3, 6, 9]),
        (2, 0.5, [2, 4, 6, 8]),
        (None, None, []),
    ],
)
def test_save_timer_counts_from_the_last_checkpoint(steps, minutes, due):
    clock = Clock()
    timer = SaveTimer(TrainSettings(save_steps=steps, save_minutes=minutes), 100, clock)
    found = []
    for step in range(101, 110):
        clock.seconds += 10.0
        if timer.due(step):
            found.append(step - 100)
            timer.restart(step)
    assert found == due
