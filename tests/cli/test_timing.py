import os
from functools import partial

import pytest

from panvision.cli import timing
from panvision.inference.backend import PredictorError


def noting(name, log):
    """Return a run that appends a name and the number of its process to a file."""

    def run():
        with log.open("a") as stream:
            stream.write(f"{name} {os.getpid()}\n")

    return run


def failing():
    raise ValueError


@pytest.fixture(autouse=True)
def no_rest(monkeypatch):
    monkeypatch.setattr(timing, "REST", 0.0)


def test_alternately_runs_each_in_its_own_process(tmp_path):
    log = tmp_path / "log.txt"
    found = timing.alternately({name: partial(noting, name, log) for name in "ab"}, warmup=1, rounds=2)
    assert {name: timed.seconds.shape for name, timed in found.items()} == {"a": (2,), "b": (2,)}
    assert all((timed.seconds > 0).all() for timed in found.values())
    assert all(timed.peak_mb is None or 10 < timed.peak_mb < 2000 for timed in found.values())
    names, numbers = zip(*(line.split() for line in log.read_text().splitlines()), strict=True)
    # In each of three rounds an uncounted call, then the timed one.
    assert "".join(names) == "aabb" * 3
    assert len({*zip(names, numbers, strict=True)}) == 2 and len({*numbers, str(os.getpid())}) == 3


def refused():
    raise PredictorError("m.onnx: no")


def test_alternately_reports_an_error_of_a_process():
    with pytest.raises(PredictorError, match=r"^m\.onnx: no$"):
        timing.alternately({"one": refused}, warmup=0, rounds=1)


def test_alternately_does_not_wait_for_a_dead_process():
    with pytest.raises(PredictorError, match="dead: its process ended early"):
        timing.alternately({"dead": failing}, warmup=0, rounds=1)
