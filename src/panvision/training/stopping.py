"""Graceful shutdown of a training on SIGINT and SIGTERM. Torch-free: the launcher imports it."""

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Protocol, Self

# EX_TEMPFAIL of sysexits.h: not finished, the same command resumes.
EXIT_INTERRUPTED = 75

# Reasons to stop. Ranks agree on the largest index.
REASONS = ("", "SIGINT", "SIGTERM", "the end of its launcher")


class Interrupted(BaseException):
    """A signal stopped the training; the message says how to resume.

    Not an error: `except Exception` must not catch it.
    """


def taken_signals() -> list[signal.Signals]:
    """Return SIGTERM and SIGINT, as far as this process may handle them.

    Python handles signals in its main thread only. Under nohup, or in the background of a script, the shell ignores
    SIGINT: a Ctrl-C there is meant for another process.
    """
    if threading.current_thread() is not threading.main_thread():
        return []
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        return [signal.SIGTERM]
    return [signal.SIGTERM, signal.SIGINT]


class Together(Protocol):
    """The processes that must stop together."""

    size: int

    def largest(self, number: int) -> int:
        """Return the largest of all ranks' numbers."""
        ...


class Stop:
    """Remembers SIGTERM and SIGINT until the training can stop; a context.

    A second SIGINT to a single process acts as before. A second SIGTERM does not: some supervisors send it twice.

    Args:
        ranks: the processes that must stop together.
    """

    def __init__(self, ranks: Together) -> None:
        self._ranks = ranks
        self._parent = os.getppid()
        self._signal = ""
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._note) for number in taken_signals()}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def requested(self) -> str:
        """Return why all ranks must stop, one of REASONS; empty: continue. All ranks must ask at the same places."""
        return REASONS[self._ranks.largest(REASONS.index(self._own()))]

    def _own(self) -> str:
        # The launcher of the ranks may have been killed, and then passes no signal on.
        orphaned = self._ranks.size > 1 and os.getppid() != self._parent
        return self._signal or (REASONS[-1] if orphaned else "")

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._signal = self._signal or signal.Signals(number).name
        # A terminal and the launcher both send SIGINT to a rank.
        if number == signal.SIGINT and self._ranks.size == 1:
            signal.signal(number, self._before[number])
