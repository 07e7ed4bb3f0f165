"""How a training is asked to stop, and what it leaves with then. No torch: also what only waits for it needs this."""

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Protocol, Self

# EX_TEMPFAIL of sysexits.h: not finished, the same command goes on.
EXIT_INTERRUPTED = 75

# What a training stops by. Ranks agree on the largest index.
REASONS = ("", "SIGINT", "SIGTERM", "the end of its launcher")


class Interrupted(BaseException):
    """A signal stopped the training; the message says how to go on.

    No error, and no `except Exception` shall take it for one.
    """


def taken_signals() -> list[signal.Signals]:
    """SIGTERM and SIGINT, as far as they can and may be taken.

    Python takes signals in its main thread only. Under nohup, or in the background of a script, the shell has SIGINT
    ignored: a Ctrl-C there is meant for somebody else.
    """
    if threading.current_thread() is not threading.main_thread():
        return []
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        return [signal.SIGTERM]
    return [signal.SIGTERM, signal.SIGINT]


class Together(Protocol):
    """What stopping needs to know of the ranks (distributed.py)."""

    launcher: int | None

    def largest(self, number: int) -> int:
        """The largest of all ranks' numbers."""
        ...


class Stop:
    """SIGTERM and SIGINT, remembered until the training is at a place where it can stop; a context.

    A second SIGINT acts as it did before. A second SIGTERM does not: some supervisors send it twice at once.

    Args:
        ranks: who must stop together.
    """

    def __init__(self, ranks: Together) -> None:
        self._ranks = ranks
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
        """Why all ranks shall stop, one of REASONS; empty: go on. All must ask at the same places."""
        return REASONS[self._ranks.largest(REASONS.index(self._own()))]

    def _own(self) -> str:
        # Whoever started the ranks may have been killed, and could not hand anything on.
        orphaned = self._ranks.launcher is not None and os.getppid() != self._ranks.launcher
        return self._signal or (REASONS[-1] if orphaned else "")

    def _note(self, number: int, frame: FrameType | None) -> None:
        # The first one: a launcher hands a SIGINT on as SIGTERM.
        self._signal = self._signal or signal.Signals(number).name
        if number == signal.SIGINT:
            signal.signal(number, self._before[number])
