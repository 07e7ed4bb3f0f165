"""Devices of ranks; that ranks train what one process trains is in test_ranks.py."""

import pytest
import torch

from panvision.training.ddp import Ranks
from panvision.training.guards import TrainingError


def rank_on(monkeypatch, gpus, *, device=None, number=1):
    """The device that rank `number` of two gets on a machine with some GPUs."""
    names = {"RANK": number, "LOCAL_RANK": number, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2}
    for name, value in names.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setattr("torch.cuda.is_available", lambda: gpus > 0)
    monkeypatch.setattr("torch.cuda.device_count", lambda: gpus)
    monkeypatch.setattr("torch.distributed.init_process_group", lambda backend: None)
    return Ranks(device).device


def test_each_rank_has_its_own_gpu(monkeypatch):
    current = []
    monkeypatch.setattr("torch.cuda.set_device", current.append)
    monkeypatch.setattr("torch.empty", lambda number, device: torch.zeros(number))
    for number in (0, 1):
        assert rank_on(monkeypatch, 2, number=number) == torch.device("cuda", number)
    assert current == [0, 1]


def test_more_ranks_than_gpus_or_one_gpu_for_all_are_rejected(monkeypatch):
    with pytest.raises(TrainingError, match=r"train.devices: 2 processes on this machine, which has 1 GPUs"):
        rank_on(monkeypatch, 1)
    with pytest.raises(TrainingError, match=r"'cuda:1' is one GPU, but several processes train .*use 'cuda'"):
        rank_on(monkeypatch, 2, device="cuda:1")
    assert rank_on(monkeypatch, 0) == rank_on(monkeypatch, 2, device="cpu") == torch.device("cpu")


@pytest.mark.parametrize("environment", [{}, {"RANK": "0", "WORLD_SIZE": "1"}])
def test_single_process_is_one_rank(monkeypatch, environment):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    ranks = Ranks("cpu")
    assert (ranks.rank, ranks.size, ranks.leads) == (0, 1, True)
    assert ranks.gather("a") == ["a"] and ranks.from_first("a") == "a" and ranks.largest(3) == 3
    model = torch.nn.Linear(1, 1)
    assert ranks.wrap(model) is model
