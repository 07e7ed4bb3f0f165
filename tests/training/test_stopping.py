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


def test_second_sigint_acts_as_before(python_takes_sigint):
    with Stop(Ranks("cpu")) as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.requested() == "SIGINT"
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            signal.sigtimedwait([], 1)  # the handler runs between two instructions


def test_second_sigint_to_one_of_several_ranks_is_only_noted(python_takes_sigint):
    """A terminal and the launcher both send one."""
    ranks = Ranks("cpu")
    ranks.size = 2
    ranks.largest = lambda number: number
    with Stop(ranks) as stop:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.requested() == "SIGINT"


def test_handlers_are_restored():
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    with Stop(Ranks("cpu")):
        assert signal.getsignal(signal.SIGTERM) != before[0]
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


def test_ignored_sigint_stays_ignored():
    """Under nohup, or in the background of a script, Ctrl-C is meant for another process."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Stop(Ranks("cpu")) as stop:
            os.kill(os.getpid(), signal.SIGINT)
            assert stop.requested() == ""
            os.kill(os.getpid(), signal.SIGTERM)
            assert stop.requested() == "SIGTERM"
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


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
