import errno
import os
import signal

import pytest

from panvision.training.distributed import Alone
from panvision.training.keeping import StateKeeper
from panvision.training.progress import Progress
from panvision.training.settings import TrainSettings
from panvision.training.stopping import Interrupted, Stop


class Folder:
    """Takes states, or has no room."""

    def __init__(self, *, full=False):
        self.folder, self.full, self.saved = "scratch", full, []

    def save(self, document, *, step, epoch):
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.saved.append(step)


class Clock:
    seconds = 0.0

    def __call__(self):
        return self.seconds


def keeper(folder, *, stop=None, clock=None, steps=None, minutes=None, start=0):
    progress = Progress(step=start)
    settings = TrainSettings(save_steps=steps, save_minutes=minutes)
    made = StateKeeper(
        "phase1", folder, dict, progress=progress, stop=stop or Stop(Alone()), settings=settings, clock=clock or Clock()
    )
    return made, progress


def take_steps(made, progress, number, clock=None, seconds=0.0):
    for _ in range(number):
        progress.step += 1
        if clock:
            clock.seconds += seconds
        made.after_step()


def test_a_state_after_so_many_steps_counted_from_the_last_one():
    folder = Folder()
    made, progress = keeper(folder, steps=3, start=100)
    take_steps(made, progress, 4)
    made.after_epoch()
    take_steps(made, progress, 7)
    assert folder.saved == [103, 104, 107, 110]


def test_a_state_after_so_many_minutes():
    folder, clock = Folder(), Clock()
    made, progress = keeper(folder, minutes=0.5, clock=clock)
    take_steps(made, progress, 9, clock, seconds=10.0)
    assert folder.saved == [3, 6, 9]


def test_whichever_comes_first():
    folder, clock = Folder(), Clock()
    made, progress = keeper(folder, steps=5, minutes=1.0, clock=clock)
    take_steps(made, progress, 4, clock, seconds=20.0)
    take_steps(made, progress, 6, clock)
    assert folder.saved == [3, 8]


def test_without_limits_only_at_the_ends_of_epochs():
    folder, clock = Folder(), Clock()
    made, progress = keeper(folder, clock=clock)
    take_steps(made, progress, 50, clock, seconds=3600.0)
    assert folder.saved == []
    made.after_epoch()
    assert folder.saved == [50]


def test_a_full_disk_is_one_warning_and_is_tried_again(capsys):
    folder = Folder(full=True)
    made, progress = keeper(folder, steps=1)
    take_steps(made, progress, 3)
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "the state cannot be saved (No space left on device); training goes on" in said
    folder.full = False
    take_steps(made, progress, 1)
    assert folder.saved == [4]


def test_a_signal_saves_and_leaves_after_the_step(capsys):
    folder = Folder()
    with Stop(Alone()) as stop:
        made, progress = keeper(folder, stop=stop)
        take_steps(made, progress, 2)
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Interrupted, match=r"phase1: stopped by SIGTERM after step 3, state saved; .*`dvc repro`"):
            take_steps(made, progress, 1)
    assert folder.saved == [3]


def test_a_signal_on_a_full_disk_says_so(capsys):
    with Stop(Alone()) as stop:
        made, progress = keeper(Folder(full=True), stop=stop)
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Interrupted, match="state NOT saved"):
            take_steps(made, progress, 1)


@pytest.fixture
def python_takes_sigint():
    # A shell that runs the tests in the background has them ignore it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_second_sigint_is_taken_at_its_word(python_takes_sigint):
    with Stop(Alone()) as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.requested() == "SIGINT"
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            signal.sigtimedwait([], 1)  # the handler runs between two instructions


def test_a_signal_ends_a_validation_between_two_batches():
    folder = Folder()
    with Stop(Alone()) as stop:
        made, _ = keeper(folder, stop=stop, start=7)
        made.during_validation()
        assert folder.saved == []
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Interrupted, match="after step 7"):
            made.during_validation()
    assert folder.saved == [7]


def test_handlers_are_given_back():
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    with Stop(Alone()):
        assert signal.getsignal(signal.SIGTERM) != before[0]
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


def test_an_ignored_sigint_stays_ignored():
    """Under nohup, or in the background of a script: a Ctrl-C there is meant for somebody else."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Stop(Alone()) as stop:
            os.kill(os.getpid(), signal.SIGINT)
            assert stop.requested() == ""
            os.kill(os.getpid(), signal.SIGTERM)
            assert stop.requested() == "SIGTERM"
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_the_first_signal_is_the_one_that_is_told(python_takes_sigint):
    with Stop(Alone()) as stop:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.requested() == "SIGINT"


def test_the_end_of_the_process_that_started_the_ranks_is_a_reason_to_stop():
    ranks = Alone()
    ranks.launcher = os.getppid()
    stop = Stop(ranks)
    assert stop.requested() == ""
    ranks.launcher += 1
    assert stop.requested() == "the end of its launcher"
