"""Trainings that are stopped at a chosen moment, each in a forked process, so that PyTorch is imported only once.

    python -m tests.training.forks

reads a job per line of its input (JSON, the arguments of `train`), and answers each with a line: the exit status
(negative: the signal), what was said, and the moments that went by. A moment is a call of one of the functions below;
a training without a limit tells how many there are, so that a test can choose one.
"""

import json
import os
import signal
import subprocess
import sys
import traceback
from pathlib import Path

ROOT = Path(__file__).parents[2]


class Forks:
    """The other end: a process that forks trainings."""

    def __init__(self):
        env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
        command = [sys.executable, "-m", "tests.training.forks"]
        self._process = subprocess.Popen(
            command, cwd=ROOT, env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def train(self, folder, phase, *, moment=None, name="SIGKILL", scratch=True, **settings):
        """Train in a folder until the moment of that number, counted from 0; → status, what was said, moments."""
        job = {"folder": str(folder), "phase": phase, "moment": moment, "name": name, "scratch": scratch}
        self._process.stdin.write(json.dumps({**job, "settings": settings}) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        return answer["status"], answer["said"], answer["moments"]

    def close(self):
        """End it."""
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def answer(job):
    """Fork a training, wait for it."""
    folder = Path(job["folder"])
    folder.mkdir(parents=True, exist_ok=True)
    said, moments = folder / "said", folder / "moments"
    moments.write_text("")
    child = os.fork()
    if child == 0:
        with said.open("w") as stream:
            os.dup2(stream.fileno(), 1)
            os.dup2(stream.fileno(), 2)
        os._exit(guarded(job, moments))
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return {"status": status, "said": said.read_text(), "moments": moments.read_text().split()}


def guarded(job, moments):
    """The exit status of a stage script."""
    from panvision.training.errors import TrainingError
    from panvision.training.keeping import EXIT_INTERRUPTED, Interrupted

    status = 0
    try:
        count_moments(moments, job["moment"], job["name"])
        train(Path(job["folder"]), job["phase"], job["scratch"], job["settings"])
    except Interrupted as stopped:
        print(stopped)
        status = EXIT_INTERRUPTED
    except TrainingError as error:
        print(error)
        status = 1
    except BaseException:  # the fork must not go on with what its parent does
        traceback.print_exc()
        status = 2
    sys.stdout.flush()
    sys.stderr.flush()
    return status


def train(folder, phase, scratch, settings):
    """One phase on the small sets, with everything on that has a state: dropout, average, schedule."""
    from panvision.model.backbone import Backbone
    from panvision.training.phases import train_phase1, train_phase2
    from panvision.training.scratch import Scratch
    from panvision.training.settings import Phase1Settings, Phase2Settings
    from tests.training.small import MODEL, config, small_sets

    Backbone.__init__ = thin_backbone
    values = {
        "save_steps": 1,
        "save_minutes": None,
        "ema_decay": 0.9,
        "schedule": "one_cycle",
        "phase1": Phase1Settings(epochs=2),
        "phase2": Phase2Settings(epochs=3, lr=1e-3),
        **settings,
    }
    place = Scratch(folder / "scratch") if scratch else None
    paths = {"checkpoint": folder / f"{phase}.pth", "curves": folder / f"{phase}.csv", "scratch": place}
    if phase == "phase1":
        train_phase1(small_sets(), config(**values), MODEL.model_copy(update={"dropout": 0.3}), **paths)
    else:
        train_phase2(small_sets(), config(**values), start=folder / "phase1.pth", **paths)


def thin_backbone(self, name):
    """Eight channels instead of 64: a state is a megabyte, and is written hundreds of times."""
    from torch import nn

    from panvision.model.resnet import BasicBlock

    nn.Module.__init__(self)
    self.channels = (8, 16, 32, 64)
    self.conv1, self.bn1 = nn.Conv2d(3, 8, 7, stride=2, padding=3, bias=False), nn.BatchNorm2d(8)
    self.layer1 = BasicBlock(8, 8, 1)
    for number, width in enumerate((8, 16, 32), 2):
        setattr(self, f"layer{number}", BasicBlock(width, 2 * width, 2))
    self._statistics_frozen = False


def count_moments(path, limit, name):
    """Write down every moment that goes by, and send this process a signal at the one of number `limit`."""
    from panvision import files
    from panvision.training import loop, state, validation

    count = 0
    log = path.open("a")

    def went_by(kind):
        nonlocal count
        log.write(f"{kind}\n")
        log.flush()
        count += 1
        if limit is not None and count == limit + 1:
            os.kill(os.getpid(), signal.Signals[name])

    def counted(owner, function, kind, *, after="", every=1):
        original = getattr(owner, function)
        calls = 0

        def call(*given, **named):
            nonlocal calls
            calls += 1
            if calls % every == 0:
                went_by(kind)
            result = original(*given, **named)
            if after:
                went_by(after)
            return result

        setattr(owner, function, call)

    counted(loop.Phase, "_step", "step", after="stepped")
    counted(validation, "_collect", "validate")
    counted(state._CheckedWriter, "write", "write", every=200)
    counted(state._CheckedWriter, "finish", "finish", after="finished")
    counted(files, "_wait_for_disk", "sync")
    counted(Path, "replace", "rename", after="renamed")
    counted(Path, "unlink", "unlink")


if __name__ == "__main__":
    import torch

    import tests.training.small  # noqa: F401 -- imports panvision.training once for all forks

    torch.set_num_threads(1)
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)
