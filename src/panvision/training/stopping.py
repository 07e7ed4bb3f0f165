"""Graceful shutdown of a training on SIGINT and SIGTERM. Torch-free: the launcher imports it."""

import os
from types import TracebackType
from typing import Protocol, Self

from panvision.core.signals import StopSignals

# EX_TEMPFAIL of sysexits.h: not finished, the same command resumes.
EXIT_INTERRUPTED = 75

# Reasons to stop. Ranks agree on the largest index.
REASONS = ("", "SIGINT", "SIGTERM", "the end of its launcher")


class Interrupted(BaseException):
    """A signal stopped the training; the message says how to resume.

    Not an error: `except Exception` must not catch it.
    """


class Together(Protocol):
    """The processes that must stop together."""

    size: int

    def largest(self, number: int) -> int:
        """Return the largest of all ranks' numbers."""
        ...


class Stop:
    """Remembers SIGTERM and SIGINT until the training can stop; a context.

    Args:
        ranks: the processes that must stop together.
    """

    def __init__(self, ranks: Together) -> None:
        self._ranks = ranks
        self._parent = os.getppid()
        # A terminal and the launcher both send SIGINT to a rank.
        self._signals = StopSignals(insist=ranks.size == 1)

    def __enter__(self) -> Self:
        self._signals.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._signals.__exit__(kind, error, trace)

    def requested(self) -> str:
        """Return why all ranks must stop, one of REASONS; empty: continue. All ranks must ask at the same places."""
        return REASONS[self._ranks.largest(REASONS.index(self._own()))]

    def _own(self) -> str:
        if self._signals.received:
            return self._signals.received[0].name
        # The launcher of the ranks may have been killed, and then passes no signal on.
        return REASONS[-1] if self._ranks.size > 1 and os.getppid() != self._parent else ""
