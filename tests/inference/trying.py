"""Model files tried one after the other in a separate process."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

# Loads every file that is named on stdin, and predicts with it if it is loaded.
TRY = """
import json, resource, sys, time
import numpy as np
from panvision.inference import onnx_backend
from panvision.inference.backend import PredictorError
from panvision.inference.predictor import Predictor

good, picture = sys.argv[1], np.zeros((9, 7, 3), np.uint8)
onnx_backend.MOST_MEMORY = 2**28
Predictor.load(good, "cpu").predict(picture)
used = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before = used()
held = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + 3 * 2**30,) * 2)
for path in json.load(sys.stdin):
    start, error, loaded = time.process_time(), None, False
    try:
        model = Predictor.load(path, "cpu")
        loaded = True
        model.predict(picture)
    except PredictorError as caught:
        error = str(caught)
    print(json.dumps([loaded, error, time.process_time() - start, used() - before]), flush=True)
"""


class Outcome(NamedTuple):
    """Outcome of a file.

    Attributes:
        loaded: whether it was.
        error: the message of the error, if there was one.
        seconds: of computing.
        grown: MiB by which the process has grown since it ran a good file.
    """

    loaded: bool
    error: str | None
    seconds: float
    grown: float

    def check_refused(self, path: Path) -> None:
        """Assert that it was refused at once, in one line that names the file, with little memory."""
        assert not self.loaded and self.error is not None, path.name
        words = self.error.removeprefix(f"{path}: ")
        assert len(words) < len(self.error), (path.name, self.error)
        assert len(words.splitlines()) == 1 and words.isprintable() and len(words) < 900, (path.name, self.error)
        assert self.seconds < 2.0 and self.grown < 200, (path.name, self)


def tried(good: Path, paths: list[Path]) -> list[Outcome]:
    """Return the outcome of each file; `good` is one that can be loaded."""
    run: Any = subprocess.run(
        [sys.executable, "-c", TRY, good],
        input=json.dumps([str(path) for path in paths]),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    outcomes = [Outcome(*json.loads(line)) for line in run.stdout.splitlines()]
    assert len(outcomes) == len(paths)
    return outcomes
