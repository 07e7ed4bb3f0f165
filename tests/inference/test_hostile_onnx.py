"""ONNX files that are no models of ours are refused: at once, in one line, and with little memory."""

import pytest

from tests.inference.hostile_onnx import write_bombs, write_corpus
from tests.inference.trying import tried


def test_every_hostile_file_is_refused(tmp_path):
    paths = [tmp_path / f"{name}.onnx" for name in write_corpus(tmp_path)]
    for path, outcome in zip(paths, tried(tmp_path / "whole.onnx", paths), strict=True):
        # Protocol buffers have no end mark: a cut between two fields of the model may leave a whole file.
        if not (path.name.startswith("cut") and outcome.loaded and outcome.error is None):
            outcome.check_refused(path)


@pytest.mark.parametrize("name", ["one large tensor", "doubled again and again"])
def test_hostile_onnx_memory_is_limited(tmp_path, name):
    assert name in write_bombs(tmp_path)
    (outcome,) = tried(tmp_path / "whole.onnx", [tmp_path / f"{name}.onnx"])
    assert outcome.error is not None and "ONNX Runtime cannot" in outcome.error
    assert len(outcome.error.splitlines()) == 1 and outcome.seconds < 2.0 and outcome.grown < 256 + 200
