import ctypes
import os
import random
import subprocess
import sys

import numpy as np
import pytest
import torch

from panvision.training import devices
from panvision.training.devices import (
    HUGE_PAGES,
    algorithms,
    keep_freed_memory,
    pick_device,
    random_state,
    restore_random_state,
)
from panvision.training.guards import TrainingError


def test_unknown_device_is_one_line():
    with pytest.raises(TrainingError, match="device 'toaster' cannot be used"):
        pick_device("toaster")


def flags():
    memory = torch.utils.deterministic.fill_uninitialized_memory
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        memory,
        torch.backends.cudnn.deterministic,
        torch.backends.cudnn.benchmark,
    )


def test_deterministic_is_strict_on_a_cpu():
    before = flags()
    with algorithms(torch.device("cpu")):
        assert flags() == (True, False, False, True, False)
    assert flags() == before


def test_deterministic_warns_on_cuda_and_fixes_the_workspace(monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "to be taken back")
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    before = flags()
    with algorithms(torch.device("cuda")):
        assert flags() == (True, True, False, True, False)
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert flags() == before
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    with algorithms(torch.device("cuda")):
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"


def precisions():
    return (
        torch.backends.cuda.matmul.fp32_precision,
        torch.backends.cudnn.conv.fp32_precision,
        torch.backends.cudnn.rnn.fp32_precision,
        torch.backends.cudnn.fp32_precision,
    )


@pytest.mark.filterwarnings("error")
def test_algorithms_without_tf32(monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = precisions()
    assert before[1] == "tf32"
    with algorithms(torch.device("cuda")):
        assert precisions() == before
    with algorithms(torch.device("cuda"), tf32=False):
        assert precisions() == ("ieee",) * 4
        # What reads the older names must not find that they disagree.
        assert not torch.backends.cudnn.allow_tf32 and not torch.backends.cuda.matmul.allow_tf32
        assert torch.get_float32_matmul_precision() == "highest"
        with torch.backends.cudnn.flags(enabled=True):
            pass
    assert precisions() == before and torch.backends.cudnn.allow_tf32


def test_algorithms_without_tf32_overrule_the_process(monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        with algorithms(torch.device("cuda"), tf32=False):
            assert precisions() == ("ieee",) * 4
        assert precisions()[0] == "tf32"
    finally:
        torch.set_float32_matmul_precision(before)


def test_algorithms_are_timed_where_they_need_not_repeat(monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "to be taken back")
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    before = flags()
    with algorithms(torch.device("cuda"), deterministic=False):
        assert flags() == (False, False, False, False, True)
        assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ
    assert flags() == before


@pytest.mark.parametrize(
    "draw", [random.random, np.random.random_sample, lambda: float(torch.rand(()))], ids=["py", "np", "torch"]
)
def test_random_state_is_restored(draw):
    cpu = torch.device("cpu")
    state = random_state(cpu)
    first = [draw() for _ in range(5)]
    restore_random_state(state, cpu)
    assert [draw() for _ in range(5)] == first


FAULTS = """
import resource, torch
from panvision.training.devices import keep_freed_memory
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(2**24)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
default = faults()
keep_freed_memory()
# Small pieces may be taken from the end of what was freed, so that the next large one does not fit there; in the end
# enough is contiguous.
for _ in range(30):
    faults()
print(default, faults())
"""


@pytest.fixture(autouse=True)
def unchanged(monkeypatch):
    """The environment is as it was, afterwards; and this process's memory is left alone."""
    monkeypatch.setenv(HUGE_PAGES, "0")


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="only glibc")
def test_freed_memory_is_used_again():
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True)
    default, kept = (int(count) for count in done.stdout.split())
    # 64 MiB: 16,384 pages of 4 KiB, or 1,024 of 64.
    assert kept < 100
    assert default > 1000


def test_huge_pages_follow_the_environment(monkeypatch):
    monkeypatch.setattr(devices.ctypes, "CDLL", lambda _name: None)
    keep_freed_memory()
    assert os.environ[HUGE_PAGES] == "0"
    monkeypatch.delenv(HUGE_PAGES)
    keep_freed_memory()
    assert os.environ[HUGE_PAGES] == "1"


@pytest.mark.parametrize("error", [OSError, AttributeError, TypeError])
def test_other_c_libraries_are_left_alone(monkeypatch, error):
    def missing(_name):
        raise error

    monkeypatch.setattr(devices.ctypes, "CDLL", missing)
    keep_freed_memory()
