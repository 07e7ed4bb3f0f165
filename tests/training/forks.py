"""Trainings that are stopped at a chosen moment, each in forked processes, so that PyTorch is imported only once.

    python -m tests.training.forks

reads a job per line of its input (JSON, the arguments of `train`), and answers each with a line: the exit status
(negative: the signal), what was said, and the moments that went by. A moment is a call of one of the functions below;
a training without a limit tells how many there are, so that a test can choose one.

A training of several ranks is answered with the statuses of all of them, and with what was said and the moments that
went by in all together; a moment to stop at is one of rank `where`.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

ROOT = Path(__file__).parents[2]
HANGS = 20  # seconds


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
        (status,), said, moments = self.ranks(1, folder, phase, moment=moment, name=name, scratch=scratch, **settings)
        return status, said, moments

    def ranks(self, size, folder, phase, *, moment=None, where=0, name="SIGKILL", scratch=True, **settings):
        """The same with several ranks; → their statuses, what was said, moments."""
        job = {"folder": str(folder), "phase": phase, "moment": moment, "name": name, "scratch": scratch}
        self._process.stdin.write(json.dumps({**job, "size": size, "where": where, "settings": settings}) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        return answer["statuses"], answer["said"], answer["moments"]

    def close(self):
        """End it."""
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def answer(job):
    """Fork the ranks of a training, wait for them; one that outlives the others for long is killed."""
    folder = Path(job["folder"])
    folder.mkdir(parents=True, exist_ok=True)
    said, moments = folder / "said", folder / "moments"
    said.write_text("")
    moments.write_text("")
    with tempfile.TemporaryDirectory() as store:
        children = [forked(job, rank, said, moments, Path(store) / "ranks") for rank in range(job["size"])]
        statuses = {}
        while len(statuses) < len(children):
            for child in children:
                done, status = (0, 0) if child in statuses else os.waitpid(child, os.WNOHANG)
                if done:
                    statuses[child], last = os.waitstatus_to_exitcode(status), time.monotonic()
                elif statuses and child not in statuses and time.monotonic() > last + HANGS:
                    os.kill(child, signal.SIGKILL)
            time.sleep(0.005)
    return {
        "statuses": [statuses[child] for child in children],
        "said": said.read_text(),
        "moments": moments.read_text().split(),
    }


def forked(job, rank, said, moments, store):
    """The process that is one rank."""
    child = os.fork()
    if child == 0:
        with said.open("a") as stream:
            os.dup2(stream.fileno(), 1)
            os.dup2(stream.fileno(), 2)
        if job["size"] > 1:
            os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(job["size"]), "PANVISION_RANKS": str(store)}
        os._exit(guarded(job, moments, rank))
    return child


def guarded(job, moments, rank):
    """The exit status of a stage script."""
    from panvision.training.distributed import as_rank

    def work(ranks):
        train(Path(job["folder"]), job["phase"], job["scratch"], job["settings"], ranks)

    try:
        count_moments(moments, job["moment"] if rank == job["where"] else None, job["name"])
        status = as_rank(work, ())
        if isinstance(status, str):
            print(status)
            status = 1
    except BaseException:  # the fork must not go on with what its parent does
        traceback.print_exc()
        status = 2
    sys.stdout.flush()
    sys.stderr.flush()
    return status


def train(folder, phase, scratch, settings, ranks=None):
    """One phase on the small sets, with everything on that has a state: dropout, average, schedule.

    The setting `changes` names functions of this module that change the code or the sets before; `largest_file` is
    how many bytes the kernel lets a file have.
    """
    from panvision.model.backbones.resnet import ResNet
    from panvision.training.phases import train_phase1, train_phase2
    from panvision.training.scratch import Scratch
    from panvision.training.settings import LossSettings, Phase1Settings, Phase2Settings
    from tests.training.small import MODEL, config, small_sets

    if limit := settings.pop("largest_file", None):
        import resource

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    ResNet.__init__ = thin_backbone
    sets = small_sets()
    for change in settings.pop("changes", ()):
        globals()[change](sets)
    values = {
        "save_steps": 1,
        "save_minutes": None,
        "ema_decay": 0.9,
        "schedule": "one_cycle",
        **settings,
        "phase1": Phase1Settings(**{"epochs": 2, **settings.get("phase1", {})}),
        "phase2": Phase2Settings(**{"epochs": 3, "lr": 1e-3, **settings.get("phase2", {})}),
    }
    loss = LossSettings(weighting=values.pop("weighting", "fixed"))
    place = Scratch(folder / "scratch") if scratch else None
    paths = {"checkpoint": folder / f"{phase}.pth", "curves": folder / f"{phase}.csv", "scratch": place}
    paths["ranks"] = ranks
    if phase == "phase1":
        train_phase1(sets, config(loss=loss, **values), MODEL.model_copy(update={"dropout": 0.3}), **paths)
    else:
        train_phase2(sets, config(loss=loss, **values), start=folder / "phase1.pth", **paths)


def thin_backbone(self, blocks, *, bottleneck):
    """Eight channels instead of 64: a state is a megabyte, and is written hundreds of times."""
    from torch import nn

    from panvision.model.backbones.resnet import BasicBlock

    nn.Module.__init__(self)
    self.channels = (8, 16, 32, 64)
    self.conv1, self.bn1 = nn.Conv2d(3, 8, 7, stride=2, padding=3, bias=False), nn.BatchNorm2d(8)
    self.layer1 = BasicBlock(8, 8, 1)
    for number, width in enumerate((8, 16, 32), 2):
        setattr(self, f"layer{number}", BasicBlock(width, 2 * width, 2))


def softened(sets):
    """AdamW with so large an epsilon that steps are in proportion to gradients, as SGD's are.

    With its own it makes a full step of what rounding left of a gradient that is zero.
    """
    from panvision.training import loop

    make = loop.make_optimizer

    def make_softened(*given, **named):
        optimizer = make(*given, **named)
        for group in optimizer.param_groups:
            group["eps"] = 0.1
        return optimizer

    loop.make_optimizer = make_softened


def unshared(sets):
    """Broken: each rank goes on with its own gradients and losses."""
    from panvision.training.distributed import Group

    Group.add_up = lambda self, tensors: []


def averaged(sets):
    """Broken: gradients and losses are divided by the number of ranks, as if each were a mean."""
    from panvision.training.distributed import Group

    add_up = Group.add_up

    def mean(self, tensors):
        found = add_up(self, tensors)
        for tensor in tensors:
            tensor.div_(self.size)
        return found

    Group.add_up = mean


def apart(sets):
    """Broken: each rank's BatchNorm and dropout see its own share only."""
    from panvision.training import phases

    phases.share_layers = lambda model, ranks: None


def boxless(sets):
    """Detection photos without boxes, but one: most shares have no positive point, and some batches neither."""
    import numpy as np

    packed = sets.packed["detection"]
    for row in range(1, len(packed.boxes)):
        packed.boxes[row], packed.labels[row] = np.zeros((0, 4), np.float32), np.zeros(0, np.int64)


def not_a_number(sets):
    """The state loss of rank 1 is not finite in the phase's second step."""
    from panvision.training import loop

    backward, calls = loop.Phase._backward, []

    def broken(self, batches):
        losses = backward(self, batches)
        calls.append(self)
        if len(calls) == 2 and os.environ.get("RANK") == "1":
            losses["cls"] = losses["cls"] * float("nan")
        return losses

    loop.Phase._backward = broken


def count_moments(path, limit, name):
    """Write down every moment that goes by, and send this process a signal at the one of number `limit`."""
    from panvision.core import files
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
    # A shell that runs the tests in the background has Ctrl-C ignored, which trainings rightly leave so.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    import torch
    import torch._dynamo  # or each fork imports it, for more than a second, as its optimizer is made

    import tests.training.small  # noqa: F401 -- imports panvision.training once for all forks

    torch.set_num_threads(1)
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)
