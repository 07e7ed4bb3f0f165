import os
import random

import numpy as np
import pytest
import torch

from panvision.training.loop import Phase
from panvision.training.phases import train_phase1
from panvision.training.repeat import deterministic, random_state, restore_random_state
from tests.training.small import MODEL, config, small_sets


def flags():
    memory = torch.utils.deterministic.fill_uninitialized_memory
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        memory,
    )


def test_on_a_cpu_deterministic_algorithms_are_a_must():
    before = flags()
    with deterministic(torch.device("cpu")):
        assert flags() == (True, False, False)
    assert flags() == before


def test_on_cuda_they_are_asked_for_with_cublas_workspace(monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "to be taken back")
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    before = flags()
    with deterministic(torch.device("cuda")):
        assert flags() == (True, True, False)
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert flags() == before
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    with deterministic(torch.device("cuda")):
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"


def test_every_step_of_training_is_taken_with_them(tmp_path, monkeypatch):
    seen, step = [], Phase._step
    monkeypatch.setattr(Phase, "_step", lambda self, batch: seen.append(flags()[:2]) or step(self, batch))
    before = flags()
    train_phase1(small_sets(), config(), MODEL, checkpoint=tmp_path / "1.pth", curves=tmp_path / "1.csv")
    assert set(seen) == {(True, False)}
    assert flags() == before


@pytest.mark.parametrize(
    "draw", [random.random, np.random.random_sample, lambda: float(torch.rand(()))], ids=["py", "np", "torch"]
)
def test_generators_go_on_from_where_they_were(draw):
    cpu = torch.device("cpu")
    state = random_state(cpu)
    first = [draw() for _ in range(5)]
    restore_random_state(state, cpu)
    assert [draw() for _ in range(5)] == first
