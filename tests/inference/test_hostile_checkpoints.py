"""Checkpoints that are not ours are refused: at once, in one line, with little memory, and nothing in them runs."""

import tempfile
from pathlib import Path

from tests.inference.trying import tried
from tests.model.hostile_archives import write_corpus


def test_hostile_checkpoints_are_refused():
    # Not pytest's folder, of which the last three are kept: the corpus has 1 GB.
    with tempfile.TemporaryDirectory(prefix="panvision-hostile-") as name:
        folder = Path(name)
        mark = folder / "executed"
        paths = [folder / f"{name}.pth" for name in write_corpus(folder, mark)]
        for path, outcome in zip(paths, tried(folder / "whole.pth", paths), strict=True):
            outcome.check_refused(path)
        assert not mark.exists()
