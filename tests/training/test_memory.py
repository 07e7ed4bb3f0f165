import ctypes
import os
import subprocess
import sys

import pytest

from panvision.training import memory
from panvision.training.memory import HUGE_PAGES, keep_freed_memory

FAULTS = """
import resource, torch
from panvision.training.memory import keep_freed_memory
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(2**24)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
default = faults()
keep_freed_memory()
# Small pieces may be taken from the end of what was freed, so that the next large one does not fit there; in the end
# enough lies side by side.
for _ in range(30):
    faults()
print(default, faults())
"""


@pytest.fixture(autouse=True)
def unchanged(monkeypatch):
    """The environment is as it was, afterwards; and this process's memory is left alone."""
    monkeypatch.setenv(HUGE_PAGES, "0")


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="only glibc")
def test_steps_take_the_memory_that_those_before_them_freed():
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True)
    default, kept = (int(count) for count in done.stdout.split())
    # 64 MiB: 16,384 pages of 4 KiB, or 1,024 of 64.
    assert kept < 100
    assert default > 1000


def test_huge_pages_are_asked_for_unless_the_environment_says_otherwise(monkeypatch):
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda _name: None)
    keep_freed_memory()
    assert os.environ[HUGE_PAGES] == "0"
    monkeypatch.delenv(HUGE_PAGES)
    keep_freed_memory()
    assert os.environ[HUGE_PAGES] == "1"


@pytest.mark.parametrize("error", [OSError, AttributeError, TypeError])
def test_it_does_without_where_the_c_library_is_another(monkeypatch, error):
    def missing(_name):
        raise error

    monkeypatch.setattr(memory.ctypes, "CDLL", missing)
    keep_freed_memory()
