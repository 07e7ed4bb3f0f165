"""Timing of contestants that each have their own process: idle threads of one would slow the next one down."""

import multiprocessing
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection

import numpy as np
import numpy.typing as npt

from panvision.cli.timing import Run

# Seconds after each contestant: PyTorch's OpenMP threads wait for more work by spinning.
REST = 0.1


def alternately(
    makers: Mapping[str, Callable[[], Run]], *, warmup: int, rounds: int
) -> dict[str, npt.NDArray[np.float64]]:
    """Time contestants one after the other, round by round, each in its own process.

    Args:
        makers: by name, a function that the process calls once; it returns what is timed. It must be picklable.
        warmup: rounds before those that count.
        rounds: rounds that count, at least 1.

    Returns:
        By name, seconds of wall time per call, (rounds,). Each call follows an uncounted one, because the caches belong
        to another contestant before.

    Raises:
        EOFError: a process died; its error is on standard error.
    """
    context = multiprocessing.get_context("spawn")
    seconds: dict[str, list[float]] = {name: [] for name in makers}
    lines = {}
    for name, make in makers.items():
        lines[name], other = context.Pipe()
        context.Process(target=_serve, args=(other, make), daemon=True).start()
        other.close()  # else the death of the process would not end `recv`
        lines[name].recv()  # it is ready
    for turn in range(warmup + rounds):
        for name, line in lines.items():
            line.send(True)
            found = line.recv()
            time.sleep(REST)
            if turn >= warmup:
                seconds[name].append(found)
    for line in lines.values():
        line.send(False)
    return {name: np.array(values) for name, values in seconds.items()}


def _serve(line: Connection, make: Callable[[], Run]) -> None:
    """Build a contestant, then run and time it for every request."""
    run = make()
    line.send(None)
    while line.recv():
        run()
        start = time.perf_counter()
        run()
        line.send(time.perf_counter() - start)
