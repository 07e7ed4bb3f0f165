"""A phase that is killed at any moment and started again ends with the bytes of one that was left alone."""

import fcntl
import os
import random
import shutil
import signal

import pytest

from panvision.training.stopping import EXIT_INTERRUPTED

pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="no fork"),
    pytest.mark.xdist_group("interrupted"),
]

PHASES = ("phase1", "phase2")
STEPS = {"phase1": 6, "phase2": 9}


@pytest.fixture(scope="module")
def alone(forks, tmp_path_factory):
    """The folder of an uninterrupted training that saved no states."""
    folder = tmp_path_factory.mktemp("alone")
    for phase in PHASES:
        status, said, _ = forks.train(folder, phase, scratch=False)
        assert status == 0, said
    return folder


@pytest.fixture(scope="module")
def moments(forks, alone, tmp_path_factory):
    """Phase → the moments of an uninterrupted training that saved states."""
    folder = tmp_path_factory.mktemp("moments")
    found = {}
    for phase in PHASES:
        started(folder, phase, alone)
        status, said, found[phase] = forks.train(folder, phase)
        assert status == 0, said
        assert_equal(folder, alone, phase)
    return found


def started(folder, phase, alone):
    """The folder with what the phase starts from."""
    if phase == "phase2":
        shutil.copy(alone / "phase1.pth", folder / "phase1.pth")


def assert_equal(folder, alone, phase):
    for name in (f"{phase}.pth", f"{phase}.csv"):
        assert (folder / name).read_bytes() == (alone / name).read_bytes(), name


def states(folder):
    return sorted(path.name for path in folder.glob("scratch/*/state-*.pt"))


def left(folder, phase):
    """Everything in the folder but what belongs there."""
    known = {"said", "moments", "scratch", "phase1.pth", f"{phase}.pth", f"{phase}.csv"}
    return {path.name for path in folder.iterdir()} - known | {path.name for path in folder.glob("scratch/*")}


def survive(forks, folder, phase, stops, **settings):
    """Train with an interruption at each of some (moment, signal); → how many happened, optimiser steps in all."""
    steps = 0
    for happened, (moment, name) in enumerate([*stops, (None, "SIGKILL")]):
        finished, before = list(folder.glob("scratch/*/finished.pt")), states(folder)
        status, said, seen = forks.train(folder, phase, moment=moment, name=name, **settings)
        steps += seen.count("step")
        if before and not finished and "step" in seen:  # else it was stopped before it could say so
            number = int(before[-1].split("-")[1])
            assert f"{phase}: resumed from step {number} (epoch " in said
        if status == 0:
            return happened, steps
        assert status in (-signal.SIGKILL, EXIT_INTERRUPTED), said
        if status == EXIT_INTERRUPTED:
            assert f"{phase}: stopped by {name} after step" in said and "resumes from there" in said
    raise AssertionError(f"the last training did not end: {said}")


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("seed", range(4))
def test_signals_at_random_moments(forks, alone, moments, tmp_path, phase, seed):
    """Three signals in each training: SIGKILL, SIGTERM or SIGINT, wherever they hit."""
    chance = random.Random(f"{phase} {seed}")  # noqa: S311 -- no secret
    started(tmp_path, phase, alone)
    room = len(moments[phase]) // 3  # so that the third still finds something to interrupt
    names = ["SIGKILL", "SIGTERM", chance.choice(["SIGKILL", "SIGTERM", "SIGINT"])]
    chance.shuffle(names)
    stops = [(chance.randrange(room), name) for name in names]
    happened, steps = survive(forks, tmp_path, phase, stops)
    assert happened == 3
    assert_equal(tmp_path, alone, phase)
    # A state after every step: a kill costs the step that it hit, and no more.
    assert steps <= STEPS[phase] + happened
    assert left(tmp_path, phase) == set()


KINDS = ("step", "stepped", "validate", "write", "finish", "finished", "sync", "rename", "renamed", "unlink")


@pytest.mark.parametrize(
    ("phase", "kind"), [*(("phase1", kind) for kind in KINDS[::3]), *(("phase2", kind) for kind in KINDS)]
)
def test_a_kill_at_each_kind_of_moment(forks, alone, moments, tmp_path, phase, kind):
    """Before, within and after a step, a validation, the writing of a state, and the change of its name."""
    started(tmp_path, phase, alone)
    places = [number for number, name in enumerate(moments[phase]) if name == kind]
    happened, steps = survive(forks, tmp_path, phase, [(places[len(places) // 2], "SIGKILL")])
    assert happened == 1
    assert_equal(tmp_path, alone, phase)
    assert steps <= STEPS[phase] + 1
    assert left(tmp_path, phase) == set()


@pytest.mark.parametrize("back", range(1, 15, 2))
def test_a_kill_while_the_outputs_are_written(forks, alone, moments, tmp_path, back):
    """The last moments: the finished state, then the checkpoint, then the curves. Nothing is trained again."""
    started(tmp_path, "phase2", alone)
    moment = len(moments["phase2"]) - back
    status, _, _ = forks.train(tmp_path, "phase2", moment=moment)
    assert status == -signal.SIGKILL
    _, steps = survive(forks, tmp_path, "phase2", [])
    assert steps == 0
    assert_equal(tmp_path, alone, "phase2")
    assert left(tmp_path, "phase2") == set()


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_during_a_validation_need_not_wait_for_its_end(forks, alone, moments, tmp_path, name):
    place = moments["phase1"].index("validate")
    status, said, seen = forks.train(tmp_path, "phase1", moment=place, name=name)
    assert status == EXIT_INTERRUPTED
    assert seen.count("validate") == 1 and f"stopped by {name} after step 3, training checkpoint saved" in said
    assert survive(forks, tmp_path, "phase1", []) == (0, 3)
    assert_equal(tmp_path, alone, "phase1")


def test_without_a_limit_states_are_saved_at_the_ends_of_epochs(forks, alone, tmp_path):
    never = {"save_steps": None, "save_minutes": None}
    _, _, seen = forks.train(tmp_path / "counted", "phase1", **never)
    last = len(seen) - 1 - seen[::-1].index("stepped")
    status, _, _ = forks.train(tmp_path, "phase1", moment=last, **never)
    assert status == -signal.SIGKILL and states(tmp_path) == ["state-000000003-000001.pt"]
    assert survive(forks, tmp_path, "phase1", [], **never) == (0, 3)
    assert_equal(tmp_path, alone, "phase1")


def test_loader_processes_and_other_saving_change_nothing(forks, alone, tmp_path):
    """A training may resume with another number of them."""
    _, _, seen = forks.train(tmp_path / "counted", "phase1", workers=2, save_steps=2)
    assert_equal(tmp_path / "counted", alone, "phase1")
    stop = (seen.index("validate"), "SIGTERM")
    happened, steps = survive(forks, tmp_path, "phase1", [stop], workers=2, save_steps=4)
    assert (happened, steps) == (1, 6)
    assert_equal(tmp_path, alone, "phase1")
    forks.train(tmp_path / "mixed", "phase1", moment=stop[0], name="SIGTERM", workers=2)
    assert survive(forks, tmp_path / "mixed", "phase1", [], workers=0) == (0, 3)
    assert_equal(tmp_path / "mixed", alone, "phase1")


def test_other_settings_do_not_take_the_state(forks, moments, tmp_path):
    place = moments["phase1"].index("validate")
    forks.train(tmp_path, "phase1", moment=place)
    assert len(states(tmp_path)) == 2
    status, said, seen = forks.train(tmp_path, "phase1", weight_decay=0.5)
    assert status == 0 and "resumed" not in said and seen.count("step") == 6
    assert len(states(tmp_path)) == 2, "the other training's states wait for it"


DAMAGES = {
    "cut short": lambda data: data[: len(data) // 2],
    "without a byte": lambda data: data[:-1],
    "empty": lambda data: b"",
    "a flipped bit": lambda data: data[:5000] + bytes([data[5000] ^ 4]) + data[5001:],
    "foreign": lambda data: b"PK\x03\x04 something else",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_state_is_set_aside_and_the_one_before_it_used(forks, alone, moments, tmp_path, damage):
    forks.train(tmp_path, "phase1", moment=moments["phase1"].index("validate"))
    older, newer = (next(tmp_path.glob(f"scratch/*/{name}")) for name in states(tmp_path))
    newer.write_bytes(DAMAGES[damage](newer.read_bytes()))
    stop = moments["phase1"].index("write")
    status, said, _ = forks.train(tmp_path, "phase1", moment=stop, name="SIGTERM")
    assert status == EXIT_INTERRUPTED
    assert said.count(str(newer)) == 1 and f"set aside as {newer.name}.damaged, using the one before it" in said
    assert "resumed from step 2 (epoch 1)" in said
    assert newer.with_name(f"{newer.name}.damaged").exists() and older.exists()
    survive(forks, tmp_path, "phase1", [])
    assert_equal(tmp_path, alone, "phase1")
    assert left(tmp_path, "phase1") == set()


def test_without_a_sound_state_training_starts_again(forks, alone, moments, tmp_path):
    forks.train(tmp_path, "phase1", moment=moments["phase1"].index("validate"))
    for path in tmp_path.glob("scratch/*/state-*.pt"):
        path.write_bytes(b"nothing")
    status, said, seen = forks.train(tmp_path, "phase1")
    assert status == 0 and seen.count("step") == 6
    assert said.count("set aside as") == 2 and said.count("training starts from the first step") == 1
    assert_equal(tmp_path, alone, "phase1")


def test_a_second_process_is_kept_out(forks, moments, tmp_path):
    """The second stops with the number of the first, which continues undisturbed."""
    forks.train(tmp_path, "phase1", moment=moments["phase1"].index("validate"))
    (lock,) = tmp_path.glob("scratch/*/lock")
    before = states(tmp_path)
    with lock.open("r+") as stream:
        fcntl.lockf(stream, fcntl.LOCK_EX)
        stream.write("4711\n")
        stream.flush()
        status, said, seen = forks.train(tmp_path, "phase1")
    assert status == 1 and "phase1: process 4711 trains this already" in said and "wait for it or stop it" in said
    assert seen.count("step") == 0 and states(tmp_path) == before
    assert survive(forks, tmp_path, "phase1", []) == (0, 3)


def test_a_disk_without_room_for_states_costs_one_warning(forks, alone, tmp_path):
    """The kernel refuses to write more than a checkpoint takes: no state, no half state, the right outputs."""
    status, said, _ = forks.train(tmp_path, "phase1", largest_file=(alone / "phase1.pth").stat().st_size)
    assert status == 0, said
    assert said.count("warning") == 1
    assert "the training checkpoint cannot be saved (File too large); training continues" in said
    assert "Traceback" not in said
    assert_equal(tmp_path, alone, "phase1")
    assert left(tmp_path, "phase1") == set()


def test_a_disk_without_room_for_the_outputs_keeps_the_training(forks, alone, tmp_path):
    folder = tmp_path / "first"
    never = {"save_steps": None, "save_minutes": None}
    (tmp_path / "phase1.pth").mkdir()  # so the checkpoint cannot be written
    status, said, _ = forks.train(tmp_path, "phase1", **never)
    assert status == 1 and said.count("cannot be written") == 1 and "the model is kept in" in said
    (tmp_path / "phase1.pth").rmdir()
    assert survive(forks, tmp_path, "phase1", []) == (0, 0)
    assert_equal(tmp_path, alone, "phase1")
    status, said, _ = forks.train(folder, "phase1", largest_file=10_000)
    assert status == 1 and "Traceback" not in said
    assert "phase1.pth" in said and "cannot be written (File too large): free disk space" in said
    assert not (folder / "phase1.pth").exists()
