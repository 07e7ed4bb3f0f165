"""Checkpoints that are not ours are refused: at once, in one line, with little memory, and nothing in them runs."""

from tests.inference.trying import tried
from tests.model.hostile_archives import write_corpus


def test_every_hostile_file_is_refused_and_nothing_in_it_runs(tmp_path):
    mark = tmp_path / "executed"
    paths = [tmp_path / f"{name}.pth" for name in write_corpus(tmp_path, mark)]
    for path, outcome in zip(paths, tried(tmp_path / "whole.pth", paths), strict=True):
        outcome.check_refused(path)
    assert not mark.exists()
