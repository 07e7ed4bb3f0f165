import os

import pytest

from panvision.cli.lock import LOCK, FolderBusyError, only_writer
from tests.cli.holders import held


def test_one_process_at_a_time_and_a_killed_one_leaves_the_folder_free(tmp_path):
    folder = tmp_path / "new/build"
    with held(folder) as process:
        told = rf"build: process {process} writes there now; .*\(--out\)"
        with pytest.raises(FolderBusyError, match=told), only_writer(folder, "--out"):
            pytest.fail("two processes write")
    with only_writer(folder, "--out"):
        assert (folder / LOCK).read_text() == f"{os.getpid()}\n"


def test_folders_of_their_own_and_one_after_the_other(tmp_path):
    with held(tmp_path / "a"), only_writer(tmp_path / "b", "--out"):
        pass
    for _ in range(2):
        with only_writer(tmp_path / "b", "--out"):
            pass
