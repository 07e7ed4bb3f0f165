"""When a phase saves its state, and how it stops when it is asked to."""

import sys
import time
from collections.abc import Callable
from typing import Protocol

from panvision.training.progress import Progress
from panvision.training.settings import TrainSettings
from panvision.training.state import Document, StateFolder
from panvision.training.stopping import Interrupted, Stop


class Keeper(Protocol):
    """What a phase calls at the places where its state can be saved."""

    def after_step(self) -> None:
        """A step of the phase has been taken."""
        ...

    def after_epoch(self) -> None:
        """An epoch has been validated."""
        ...

    def during_validation(self) -> None:
        """A batch of the validation split has been looked at; the state is as it was before the first."""
        ...


class NoKeeper:
    """Nothing is saved."""

    def after_step(self) -> None:
        """Do nothing."""

    def after_epoch(self) -> None:
        """Do nothing."""

    def during_validation(self) -> None:
        """Do nothing."""


class StateKeeper:
    """Saves a phase's state after so many steps or minutes, after epochs, and when a signal asks to stop.

    A signal to one rank stops all of them at the same place.

    Args:
        phase: its name, for messages.
        folder: where to; None on all ranks but the first, whose state is everybody's.
        state: makes the state as it is now.
        progress: where the phase is.
        stop: the signals.
        settings: `save_steps` and `save_minutes`.
        clock: seconds.
    """

    def __init__(
        self,
        phase: str,
        folder: StateFolder | None,
        state: Callable[[], Document],
        *,
        progress: Progress,
        stop: Stop,
        settings: TrainSettings,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._phase, self._folder, self._state, self._progress = phase, folder, state, progress
        self._stop = stop
        self._steps, self._minutes, self._clock = settings.save_steps, settings.save_minutes, clock
        self._saved_step, self._saved_time = progress.step, clock()
        self._warned = False

    def after_step(self) -> None:
        """Save if it is time; raise Interrupted if a signal came."""
        self._leave_if_asked()
        if self._due():
            self._save()

    def after_epoch(self) -> None:
        """Save."""
        self._save()

    def during_validation(self) -> None:
        """Raise Interrupted if a signal came: it need not wait for the end, validating changes nothing."""
        self._leave_if_asked()

    def _due(self) -> bool:
        enough = self._steps is not None and self._progress.step - self._saved_step >= self._steps
        late = self._minutes is not None and self._clock() - self._saved_time >= 60 * self._minutes
        return enough or late

    def _save(self) -> bool:
        """Whether it worked; a failure costs one warning and is tried again when the next state is due."""
        progress = self._progress
        self._saved_step, self._saved_time = progress.step, self._clock()
        if self._folder is None:
            return True
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

    def _leave_if_asked(self) -> None:
        """Save and raise Interrupted if any rank got a signal."""
        reason = self._stop.requested()
        if not reason:
            return
        what = f"{self._phase}: stopped by {reason} after step {self._progress.step}"
        state = "state saved" if self._save() else "state NOT saved, the last one before remains"
        raise Interrupted(f"{what}, {state}; the same command, or `dvc repro`, goes on from there")
