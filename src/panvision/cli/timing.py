"""Latency and memory of model files."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from panvision.inference.backend import PredictorError
from panvision.inference.predictor import Predictor

Images = npt.NDArray[np.uint8]
Run = Callable[[], object]


def interleaved(runs: Mapping[str, Run], *, warmup: int, rounds: int) -> dict[str, npt.NDArray[np.float64]]:
    """Time several functions alternately, so that other load on the machine affects all of them alike.

    Args:
        runs: the functions, by name.
        warmup: rounds before those that count.
        rounds: rounds that count, at least 1.

    Returns:
        By name, seconds of wall time per call, (rounds,).
    """
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(warmup + rounds):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if turn >= warmup:
                seconds[name].append(time.perf_counter() - start)
    return {name: np.array(values) for name, values in seconds.items()}


def noise(count: int, side: int) -> Images:
    """Return images (count, side, side, 3); a network's time does not depend on their content."""
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def open_model(path: Path, threads: int) -> Predictor:
    """Open a model file on the CPU with a number of threads (0: the runtime's own choice).

    Raises:
        PredictorError: as `Predictor.load`.
    """
    if path.suffix.lower() == ".onnx" and path.is_file():
        from panvision.inference.onnx_backend import OnnxBackend

        return Predictor(OnnxBackend(path, "cpu", threads=threads))
    predictor = Predictor.load(path, "cpu")
    if threads:
        import torch

        torch.set_num_threads(threads)
    return predictor


def peak_memory(path: Path, *, batch: int, threads: int) -> float | None:
    """Return the peak resident memory in MB of a separate process that loads the model and runs it three times.

    Python and the runtime's libraries count, as they do on a device. None where the system does not report it.

    Raises:
        PredictorError: that process failed, for example because memory ran out.
    """
    command = [sys.executable, "-m", __name__, str(path), str(batch), str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise PredictorError(f"{path}: a separate process cannot run it with a batch of {batch}: {reason}")
    return json.loads(done.stdout)


def _own_peak() -> float | None:
    """Return this process's peak resident memory in MB, as Linux counts it; getrusage includes the parent's."""
    try:
        found = re.search(r"^VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text(), flags=re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) * 1024 / 1e6 if found else None


def _measure_memory(path: str, batch: str, threads: str) -> None:
    predictor = open_model(Path(path), int(threads))
    images = noise(int(batch), predictor.image_size)
    for _ in range(3):
        predictor.raw(images)
    print(json.dumps(_own_peak()))


if __name__ == "__main__":
    _measure_memory(*sys.argv[1:])
