import signal
import subprocess
import sys
import threading

import pytest

from panvision.core.signals import StopSignals

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@pytest.fixture(autouse=True)
def handlers():
    """A shell that runs the tests in the background has SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_remembered_and_handlers_are_restored(number):
    before = [signal.getsignal(each) for each in SIGNALS]
    called = []
    with StopSignals(called.append) as stop:
        assert not stop.received
        signal.raise_signal(number)
        assert stop.received == called == [number]
    assert [signal.getsignal(each) for each in SIGNALS] == before


def test_only_a_second_sigint_interrupts():
    with StopSignals() as stop:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert stop.received == [signal.SIGTERM, signal.SIGTERM, signal.SIGINT]


def test_an_error_of_the_callback_is_raised():
    def refuse(number):
        raise RuntimeError(number.name)

    with pytest.raises(RuntimeError, match="SIGTERM"), StopSignals(refuse):
        signal.raise_signal(signal.SIGTERM)


def test_an_ignored_sigint_stays_ignored():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with StopSignals() as stop:
        signal.raise_signal(signal.SIGINT)
    assert not stop.received and signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_other_threads_catch_nothing():
    found = []

    def work():
        with StopSignals() as stop:
            found.append(stop)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found[0].received == []


def test_it_needs_no_torch():
    code = "import sys; import panvision.core.signals; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
