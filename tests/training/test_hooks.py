import os
import signal
from types import SimpleNamespace

import pytest

from panvision.training.checkpointing import SaveTimer
from panvision.training.ddp import Ranks
from panvision.training.hooks import Saving
from panvision.training.settings import TrainSettings
from panvision.training.stopping import Interrupted, Stop


class Checkpoints:
    """Takes checkpoints, or has no room."""

    def __init__(self, *, full=False):
        self.full, self.saved = full, []

    def save(self, document, *, step, epoch):
        if not self.full:
            self.saved.append(step)
        return not self.full


def saving(checkpoints, stop, steps=None):
    timer = SaveTimer(TrainSettings(save_steps=steps, save_minutes=None), 0)
    return Saving("phase1", checkpoints, dict, timer=timer, stop=stop), SimpleNamespace(step=0, epoch=0)


def take_steps(hook, state, number):
    for _ in range(number):
        state.step += 1
        hook.after_step(state)


def test_saving_when_due_and_after_epochs():
    own = Checkpoints()
    hook, state = saving(own, Stop(Ranks("cpu")), steps=3)
    take_steps(hook, state, 4)
    hook.after_epoch(state, None)
    take_steps(hook, state, 7)
    assert own.saved == [3, 4, 7, 10]


def test_saving_nothing_on_ranks_without_a_folder():
    hook, state = saving(None, Stop(Ranks("cpu")), steps=1)
    take_steps(hook, state, 3)


@pytest.mark.parametrize(("full", "said"), [(False, "training checkpoint saved"), (True, "checkpoint NOT saved")])
def test_signal_saves_and_leaves_after_the_step(full, said):
    own = Checkpoints(full=full)
    with Stop(Ranks("cpu")) as stop:
        hook, state = saving(own, stop)
        take_steps(hook, state, 2)
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Interrupted, match=rf"phase1: stopped by SIGTERM after step 3, .*{said}; .*`dvc repro`"):
            take_steps(hook, state, 1)
    assert own.saved == ([] if full else [3])


def test_signal_ends_a_validation_between_two_batches():
    own = Checkpoints()
    with Stop(Ranks("cpu")) as stop:
        hook, state = saving(own, stop)
        hook.between_batches(state)
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Interrupted, match="after step 0"):
            hook.between_batches(state)
    assert own.saved == [0]
