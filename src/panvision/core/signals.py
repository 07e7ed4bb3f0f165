"""SIGINT and SIGTERM, remembered until the program reaches a point where it can stop."""

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self


class StopSignals:
    """Signals that ask for a stop, remembered while this context is open.

    A second SIGINT acts as it did before the context, so that a second Ctrl-C ends the program at once. A second
    SIGTERM is only remembered, because some supervisors send it twice. Outside the main thread no signal can be caught,
    and under nohup, or in the background of a script, an ignored SIGINT stays ignored.

    Args:
        on_signal: called in the handler with each signal; it may raise.
        insist: let a second SIGINT act; False for a process that gets each SIGINT twice.

    Attributes:
        received: the signals so far, in their order.
    """

    def __init__(self, on_signal: Callable[[signal.Signals], object] | None = None, *, insist: bool = True) -> None:
        self.received: list[signal.Signals] = []
        self._insist = insist
        self._on_signal = on_signal
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                if signal.getsignal(number) is not signal.SIG_IGN or number is signal.SIGTERM:
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        received = signal.Signals(number)
        self.received.append(received)
        if received is signal.SIGINT and self._insist:
            signal.signal(number, self._before[received])
        if self._on_signal is not None:
            self._on_signal(received)
