import errno
import io

import pytest
import torch

from panvision.training.state import StateError, StateFolder, _CheckedWriter, read_state, write_state

DOCUMENT = {"weights": torch.arange(6.0).reshape(2, 3), "step": 3, "rows": [{"lr": 0.1, "map50": None}]}


def test_a_state_comes_back_as_it_was(tmp_path):
    write_state(tmp_path / "a.pt", DOCUMENT)
    read = read_state(tmp_path / "a.pt")
    assert torch.equal(read.pop("weights"), DOCUMENT["weights"])
    assert read == {"step": 3, "rows": [{"lr": 0.1, "map50": None}]}
    assert [path.name for path in tmp_path.iterdir()] == ["a.pt"]


def test_no_change_of_a_byte_is_missed(tmp_path):
    path = tmp_path / "a.pt"
    write_state(path, DOCUMENT)
    whole = path.read_bytes()
    for place in (*range(0, len(whole), 97), len(whole) - 1):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(StateError):
            read_state(path)
        path.write_bytes(whole[:place])
        with pytest.raises(StateError):
            read_state(path)


def test_nothing_in_a_state_is_executed(tmp_path):
    class Evil:
        def __reduce__(self):
            return (print, ("executed",))

    write_state(tmp_path / "a.pt", {"evil": Evil()})
    with pytest.raises(StateError, match="more than tensors and plain values"):
        read_state(tmp_path / "a.pt")


@pytest.mark.parametrize("room", [0, 100, 1000])
def test_a_full_disk_is_an_error_of_the_disk_and_leaves_the_old_state(tmp_path, monkeypatch, room):
    write_state(tmp_path / "a.pt", DOCUMENT)
    before = (tmp_path / "a.pt").read_bytes()
    write = _CheckedWriter.write
    written = 0

    class Full(io.RawIOBase):
        def write(self, data):
            raise OSError(errno.ENOSPC, "No space left on device")

    def limited(self, data):
        nonlocal written
        written += len(data)
        if written > room:
            self._stream = Full()
        return write(self, data)

    monkeypatch.setattr(_CheckedWriter, "write", limited)
    with pytest.raises(OSError, match="No space left on device"):
        write_state(tmp_path / "a.pt", DOCUMENT | {"step": 4})
    assert (tmp_path / "a.pt").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.pt"]


def test_the_last_two_are_kept(tmp_path):
    with StateFolder(tmp_path, "f") as states:
        for step in (1, 2, 10):
            states.save({"step": step}, step=step, epoch=0)
        assert sorted(path.name for path in tmp_path.glob("state-*")) == [
            "state-000000002-000000.pt",
            "state-000000010-000000.pt",
        ]
        assert states.newest()["step"] == 10
        states.save({"step": 10, "validated": True}, step=10, epoch=1)
        assert states.newest()["validated"]


def test_a_finished_state_stands_for_all(tmp_path):
    with StateFolder(tmp_path, "f") as states:
        states.save({"finished": False}, step=1, epoch=0)
        states.finish({"finished": True})
        assert states.newest()["finished"] and [path.name for path in tmp_path.glob("*.pt")] == ["finished.pt"]
        states.clear()
        assert states.newest() is None


def test_a_state_of_another_training_is_not_taken(tmp_path, capsys):
    with StateFolder(tmp_path, "one") as states:
        states.save({}, step=1, epoch=0)
    with StateFolder(tmp_path, "two") as states:
        assert states.newest() is None
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "it belongs to another training; set aside as state-" in said
    assert "training starts anew" in said and [path.suffix for path in tmp_path.glob("state-*")] == [".damaged"]


def test_what_killed_writers_left_is_cleared_up(tmp_path):
    (tmp_path / ".state-000000001-000000.pt.abc.partial").write_bytes(b"half")
    with StateFolder(tmp_path, "f"):
        assert [path.name for path in tmp_path.iterdir()] == ["lock"]
