import os

import pytest

from panvision.core import locks
from panvision.core.locks import BusyError, lock_file
from tests.cli.holders import held


def test_another_process_holds_it_until_it_dies(tmp_path):
    with held(tmp_path) as process, pytest.raises(BusyError, match=rf"\.lock: process {process} holds it") as caught:
        lock_file(tmp_path / ".lock")
    assert caught.value.process == str(process)
    with lock_file(tmp_path / ".lock"):
        assert (tmp_path / ".lock").read_text() == f"{os.getpid()}\n"


def test_systems_without_locks_lock_nothing(tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError("no locks available")

    monkeypatch.setattr("fcntl.lockf", no_locks)
    with lock_file(tmp_path / "lock"):
        pass
    monkeypatch.setattr(locks, "fcntl", None)
    with lock_file(tmp_path / "lock"):
        pass
