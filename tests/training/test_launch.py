"""The launcher, with ranks that are a few lines of Python and no training."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from panvision.training import launch as module
from panvision.training.launch import is_rank, launch

pytestmark = pytest.mark.skipif(os.name != "posix", reason="no signals")


def started(code, devices=2):
    return launch(
        [sys.executable, "-S", "-c", f"import os, signal, sys, time; rank = int(os.environ['RANK']); {code}"], devices
    )


def test_each_rank_gets_the_environment_of_torchrun(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.chdir(tmp_path)
    assert started("import json; json.dump(dict(os.environ), open(f'rank{rank}', 'w'))", 3) == 0
    environments = [json.loads((tmp_path / f"rank{rank}").read_text()) for rank in range(3)]
    for rank, found in enumerate(environments):
        assert is_rank(found) and found["RANK"] == found["LOCAL_RANK"] == str(rank)
        assert found["WORLD_SIZE"] == found["LOCAL_WORLD_SIZE"] == "3"
        assert found["OMP_NUM_THREADS"] == "7" and found["PANVISION_LAUNCHER"] == str(os.getpid())
    assert len({found["PANVISION_RANKS"] for found in environments}) == 1
    assert not Path(environments[0]["PANVISION_RANKS"]).parent.exists()


def test_ranks_share_the_cores(tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(module, "count_cores", lambda: 8)
    assert module._environment(0, 3, tmp_path)["OMP_NUM_THREADS"] == "2"
    assert module._environment(0, 9, tmp_path)["OMP_NUM_THREADS"] == "1"


@pytest.mark.parametrize("environment", [{}, {"RANK": "0"}, {"RANK": "0", "WORLD_SIZE": "2"}])
def test_without_a_place_to_meet_a_process_is_no_rank(environment):
    assert not is_rank(environment)


def test_a_stopped_training_has_the_stage_s_own_exit_code():
    assert started("sys.exit(75)") == 75


def test_a_rank_that_fails_ends_the_others_and_has_told_why(monkeypatch, capfd):
    monkeypatch.setattr(module, "GRACE", 0.1)
    assert started("sys.exit('the reason') if rank else time.sleep(60)") == 1
    assert capfd.readouterr().err == "the reason\n"


def test_of_a_rank_that_is_killed_the_launcher_tells(monkeypatch, capfd):
    assert started("os.kill(os.getpid(), signal.SIGKILL) if rank else sys.exit(76)") == 1
    told = capfd.readouterr().err
    assert told.count("\n") == 1 and told.startswith("process ")
    assert (
        ", rank 1 of 2, was ended by SIGKILL, as the system does where memory runs out, so the others were ended, too"
        in told
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_handed_on(tmp_path, monkeypatch, number):
    monkeypatch.chdir(tmp_path)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have it ignored
    try:
        code = f"""signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
open(f'rank{{rank}}', 'w')
while not (os.path.exists('rank0') and os.path.exists('rank1')):
    time.sleep(0.01)
rank or os.kill(os.getppid(), {int(number)})
for _ in range(6000):
    time.sleep(0.01)  # a signal that comes just before a sleep is looked at only after it
"""
        assert started(code) == 75
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_signal_before_there_is_anything_to_save_is_no_error_of_a_rank(capfd):
    assert started("rank or os.kill(os.getppid(), signal.SIGTERM); time.sleep(60)") == 128 + signal.SIGTERM
    assert capfd.readouterr().err == ""


def test_ranks_that_lost_each_other_and_know_no_more_are_told_of(capfd):
    assert started("sys.exit(76)") == 1
    assert capfd.readouterr().err.startswith("the training's processes lost each other; the same command")


def test_the_launcher_needs_no_torch():
    code = "import sys; sys.modules['torch'] = None; import panvision.training.launch"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
