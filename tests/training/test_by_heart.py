"""Overfitting: what a whole model cannot do on four images it has seen, it cannot do at all."""

import pytest
import torch

from panvision.training.fit import fit
from panvision.training.hooks import Hook
from panvision.training.settings import LossSettings
from panvision.training.state import start
from tests.training.data.packed_sets import STILL
from tests.training.small import MODEL, plan, small_model, two_box_sets


def last_row(model, sets, lr, loss=None, **train):
    """The curves' row after one epoch."""
    rows = []

    class Recorder(Hook):
        def after_epoch(self, state, result):
            rows.append(result.row)

    phase = plan(sets, epochs=1, lr=lr, augment=STILL, loss=loss, batch_size=4, **train)
    state = start(model, phase)
    torch.manual_seed(1)
    fit(state, phase, [Recorder()])
    return rows[-1]


@pytest.fixture
def sets():
    return two_box_sets()


def test_four_images_are_learned(sets):
    # The mask head has no normalisation behind its first: eight channels learn too slowly.
    model = small_model(sets, MODEL.model_copy(update={"seg_channels": 32}))
    loss = LossSettings(box="giou", state="cross_entropy")
    last = last_row(model, sets, lr=1e-2, loss=loss, epoch_steps=60, schedule="one_cycle")
    assert last["map50"] > 0.95
    assert last["miou"] > 0.95
    assert last["accuracy"] == 1.0


def test_a_model_of_one_task_learns(sets):
    model = small_model(sets, tasks=["classification"])
    assert last_row(model, sets, lr=4e-3, epoch_steps=40, schedule="constant")["accuracy"] == 1.0
