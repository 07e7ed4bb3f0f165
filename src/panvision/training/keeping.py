"""When a phase saves its state, and how it stops when it is asked to."""

import contextlib
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType
from typing import Any, Protocol, Self

from panvision.training.progress import Progress
from panvision.training.settings import TrainSettings
from panvision.training.state import Document, StateFolder

# EX_TEMPFAIL of sysexits.h: not finished, the same command goes on.
EXIT_INTERRUPTED = 75


class Interrupted(BaseException):
    """A signal stopped the training; the message says how to go on.

    No error, and no `except Exception` shall take it for one.
    """


class Stop:
    """SIGTERM and SIGINT, remembered until the training is at a place where it can stop; a context.

    A second SIGINT acts as it did before. A second SIGTERM does not: some supervisors send it twice at once.
    """

    def __init__(self) -> None:
        self.requested: str | None = None
        self._at_once = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        # Python takes signals in its main thread only.
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """Inside, a signal raises Interrupted where it meets the program."""
        self._at_once = True
        try:
            if self.requested:
                raise Interrupted
            yield
        finally:
            self._at_once = False

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.requested = signal.Signals(number).name
        if number == signal.SIGINT:
            signal.signal(number, self._before[number])
        if self._at_once:
            raise Interrupted


class Keeper(Protocol):
    """What a phase calls at the places where its state can be saved."""

    def after_step(self) -> None:
        """A step of the phase has been taken."""
        ...

    def after_epoch(self) -> None:
        """An epoch has been validated."""
        ...

    def validating(self) -> contextlib.AbstractContextManager[None]:
        """The context of a validation, during which the state stays as it is."""
        ...


class NoKeeper:
    """Nothing is saved."""

    def after_step(self) -> None:
        """Do nothing."""

    def after_epoch(self) -> None:
        """Do nothing."""

    def validating(self) -> contextlib.AbstractContextManager[None]:
        """Do nothing."""
        return contextlib.nullcontext()


class StateKeeper:
    """Saves a phase's state after so many steps or minutes, after epochs, and when a signal asks to stop.

    Args:
        phase: its name, for messages.
        folder: where to.
        state: makes the state as it is now.
        progress: where the phase is.
        stop: the signals.
        settings: `save_steps` and `save_minutes`.
        clock: seconds.
    """

    def __init__(
        self,
        phase: str,
        folder: StateFolder,
        state: Callable[[], Document],
        *,
        progress: Progress,
        stop: Stop,
        settings: TrainSettings,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._phase, self._folder, self._state, self._progress, self._stop = phase, folder, state, progress, stop
        self._steps, self._minutes, self._clock = settings.save_steps, settings.save_minutes, clock
        self._saved_step, self._saved_time = progress.step, clock()
        self._warned = False

    def after_step(self) -> None:
        """Save if it is time; raise Interrupted if a signal came."""
        if self._stop.requested:
            self._leave()
        elif self._due():
            self._save()

    def after_epoch(self) -> None:
        """Save."""
        self._save()

    @contextlib.contextmanager
    def validating(self) -> Iterator[None]:
        """A signal need not wait for the end: validating changes nothing."""
        try:
            with self._stop.at_once():
                yield
        except Interrupted:
            self._leave()

    def _due(self) -> bool:
        enough = self._steps is not None and self._progress.step - self._saved_step >= self._steps
        late = self._minutes is not None and self._clock() - self._saved_time >= 60 * self._minutes
        return enough or late

    def _save(self) -> bool:
        """Whether it worked; a failure costs one warning and is tried again when the next state is due."""
        progress = self._progress
        self._saved_step, self._saved_time = progress.step, self._clock()
        try:
            self._folder.save(self._state(), step=progress.step, epoch=progress.epoch)
        except OSError as error:
            if not self._warned:
                reason = error.strerror or error
                print(
                    f"{self._phase}: warning: {self._folder.folder}: the state cannot be saved ({reason}); training "
                    "goes on, but an interruption costs what was done since the last state",
                    file=sys.stderr,
                    flush=True,
                )
            self._warned = True
            return False
        return True

    def _leave(self) -> None:
        what = f"{self._phase}: stopped by {self._stop.requested} after step {self._progress.step}"
        state = "state saved" if self._save() else "state NOT saved, the last one before remains"
        raise Interrupted(f"{what}, {state}; the same command, or `dvc repro`, goes on from there")
