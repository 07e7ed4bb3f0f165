"""Latency and memory of models, each in its own process: idle threads of one would slow the next one down."""

import multiprocessing
import re
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from panvision.inference.backend import Precision, PredictorError, Runtime
from panvision.inference.predictor import Predictor

Images = npt.NDArray[np.uint8]
Run = Callable[[], object]

# Seconds after each call: PyTorch's OpenMP threads wait for more work by spinning.
REST = 0.1


class Timed(NamedTuple):
    """Measurements of one contestant.

    Attributes:
        seconds: wall time of each call, (rounds,).
        peak_mb: peak resident memory of its process; None where the system does not report it.
    """

    seconds: npt.NDArray[np.float64]
    peak_mb: float | None


def alternately(makers: Mapping[str, Callable[[], Run]], *, warmup: int, rounds: int) -> dict[str, Timed]:
    """Time contestants one after the other, round by round, each in its own process.

    Other load on the machine affects all of them alike. Each timed call follows an uncounted one, because the caches
    belong to another contestant before. Python and the runtime's libraries count as memory, as they do on a device.

    Args:
        makers: by name, a function that the process calls once; it returns what is timed. It must be picklable.
        warmup: rounds before those that count.
        rounds: rounds that count, at least 1.

    Raises:
        PredictorError: a contestant raised it, or its process died.
    """
    context = multiprocessing.get_context("spawn")
    seconds: dict[str, list[float]] = {name: [] for name in makers}
    lines: dict[str, Connection] = {}
    for name, make in makers.items():
        lines[name], other = context.Pipe()
        context.Process(target=_serve, args=(other, make), daemon=True).start()
        other.close()  # else the death of the process would not end `recv`
        _receive(lines[name], name)  # it is ready
    for turn in range(warmup + rounds):
        for name, line in lines.items():
            line.send(True)
            found = _receive(line, name)
            time.sleep(REST)
            if turn >= warmup:
                seconds[name].append(found)
    for line in lines.values():
        line.send(False)
    return {name: Timed(np.array(seconds[name]), _receive(line, name)) for name, line in lines.items()}


def _receive(line: Connection, name: str) -> Any:
    try:
        found = line.recv()
    except EOFError as error:
        raise PredictorError(f"{name}: its process ended early, for example because memory ran out") from error
    if isinstance(found, PredictorError):
        raise found
    return found


def _serve(line: Connection, make: Callable[[], Run]) -> None:
    """Make a contestant, then run and time it for every request."""
    try:
        run = make()
        line.send(None)
        while line.recv():
            run()
            start = time.perf_counter()
            run()
            line.send(time.perf_counter() - start)
        line.send(_own_peak())
    except PredictorError as error:
        line.send(error)


def noise(count: int, side: int) -> Images:
    """Return images (count, side, side, 3); a network's time does not depend on their content."""
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def open_model(
    path: Path, threads: int, *, runtime: Runtime | None = None, precision: Precision | None = None
) -> Predictor:
    """Open a model file on the CPU with a number of threads (0: the runtime's own choice).

    Raises:
        PredictorError: as `Predictor.load`.
    """
    predictor = Predictor.load(path, "cpu", runtime=runtime, precision=precision, threads=threads)
    if threads and path.suffix.lower() != ".onnx":
        import torch

        torch.set_num_threads(threads)
    return predictor


def make_run(path: Path, runtime: Runtime | None, precision: Precision | None, *, threads: int, batch: int) -> Run:
    """Open a model file, and return what passes one batch through its network."""
    predictor = open_model(path, threads, runtime=runtime, precision=precision)
    images = noise(batch, predictor.image_size)
    return lambda: predictor.raw(images)


def _own_peak() -> float | None:
    """Return this process's peak resident memory in MB, as Linux counts it; getrusage includes the parent's."""
    try:
        found = re.search(r"^VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text(), flags=re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) * 1024 / 1e6 if found else None
