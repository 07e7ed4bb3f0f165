"""The launcher, with ranks that are a few lines of Python and no training."""

import os
import signal
import subprocess
import sys

import pytest

from panvision.training.launch import is_rank

pytestmark = [pytest.mark.skipif(os.name != "posix", reason="no signals"), pytest.mark.xdist_group("devices")]

# The launcher is started in its own process: it changes the environment and the log of the process that it runs in.
LAUNCH = """
import sys
from panvision.training.launch import launch
sys.exit(launch([sys.executable, *sys.argv[2:]], int(sys.argv[1])))
"""
FAIL = """
import sys
from panvision.training.guards import TrainingError
from panvision.training.launch import run_as_rank
import os
def work(ranks):
    if ranks.rank == 1:
        raise TrainingError("the reason: a file")
    ranks.gather(1)
sys.exit(run_as_rank(work, ()))
"""


def started(code, devices=2, **environment):
    command = [sys.executable, "-c", LAUNCH, str(devices), "-c", code]
    env = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"} | environment
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


def test_each_rank_gets_the_environment_of_torchrun():
    names = ["RANK", "LOCAL_RANK", "WORLD_SIZE", "OMP_NUM_THREADS", "PANVISION_LAUNCHED"]
    # In one write, because both ranks have the same pipe.
    code = f"import os, sys; sys.stdout.write(' '.join(os.environ[name] for name in {names!r}) + '\\n')"
    done = started(code, OMP_NUM_THREADS="7")
    assert done.returncode == 0 and done.stderr == ""
    assert sorted(done.stdout.splitlines()) == ["0 0 2 7 1", "1 1 2 7 1"]


@pytest.mark.parametrize("environment", [{}, {"RANK": "0"}, {"RANK": "0", "WORLD_SIZE": "2"}])
def test_process_without_a_place_to_meet_is_not_a_rank(monkeypatch, environment):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert not is_rank()


def test_stopped_training_has_the_exit_code_of_its_ranks():
    done = started("import sys; sys.exit(75)")
    assert done.returncode == 75 and done.stderr == ""


def test_error_of_one_rank_is_one_message():
    done = started(FAIL)
    assert done.returncode == 1 and done.stderr == "the reason: a file\n"


def test_killed_rank_is_one_message():
    done = started("import os, signal, time; os.environ['RANK'] == '1' and os.kill(os.getpid(), 9); time.sleep(60)")
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and done.stderr.startswith("process ")
    assert ", rank 1 of 2, was ended by SIGKILL, as the system does where memory runs out" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_are_passed_on(number):
    code = f"""
import os, signal, sys, time
signal.signal({int(number)}, lambda *_: sys.exit(75))
time.sleep(0.5 if os.environ["RANK"] == "0" else 0)
os.environ["RANK"] == "0" and os.kill(os.getppid(), {int(number)})
for _ in range(6000):
    time.sleep(0.01)  # a signal that comes just before a sleep is handled only after it
"""
    assert started(code).returncode == 75


def test_ranks_that_lost_each_other_are_reported():
    done = started("import sys; sys.exit(76)")
    assert done.returncode == 1 and done.stderr.startswith("the training's processes lost each other; the same command")


def test_module_imports_no_torch():
    code = "import sys; sys.modules['torch'] = None; import panvision.training.launch"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
