import os
import signal

import pytest

from panvision.training.ddp import Ranks
from panvision.training.stopping import Stop


@pytest.fixture
def python_takes_sigint():
    # A shell that runs the tests in the background ignores it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_second_sigint_to_one_of_several_ranks_is_only_noted(python_takes_sigint):
    """A terminal and the launcher both send one."""
    ranks = Ranks("cpu")
    ranks.size = 2
    ranks.largest = lambda number: number
    with Stop(ranks) as stop:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.requested() == "SIGINT"


def test_first_signal_is_reported(python_takes_sigint):
    with Stop(Ranks("cpu")) as stop:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.requested() == "SIGINT"


def test_end_of_the_launcher_is_a_reason_to_stop(monkeypatch):
    ranks = Ranks("cpu")
    stop = Stop(ranks)
    monkeypatch.setattr(os, "getppid", lambda: -1)
    assert stop.requested() == ""
    ranks.size, ranks.largest = 2, lambda number: number
    assert stop.requested() == "the end of its launcher"
