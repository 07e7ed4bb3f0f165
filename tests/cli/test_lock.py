import os

import pytest

from panvision.cli.lock import LOCK, FolderBusyError, only_writer
from tests.cli.holders import held


def test_one_process_at_a_time_until_it_is_killed(tmp_path):
    folder = tmp_path / "new/build"
    with held(folder) as process:
        message = rf"build: process {process} is writing there; .*\(--out\)"
        with pytest.raises(FolderBusyError, match=message), only_writer(folder, "--out"):
            pytest.fail("two processes write")
    with only_writer(folder, "--out"):
        assert (folder / LOCK).read_text() == f"{os.getpid()}\n"


def test_other_folders_and_one_after_the_other(tmp_path):
    with held(tmp_path / "a"), only_writer(tmp_path / "b", "--out"):
        pass
    for _ in range(2):
        with only_writer(tmp_path / "b", "--out"):
            pass
