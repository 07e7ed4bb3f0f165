"""States that an interrupted phase goes on from: written whole, checked when read, the last two kept."""

import contextlib
import hashlib
import io
import shutil
import sys
from pathlib import Path
from types import TracebackType
from typing import IO, Any, BinaryIO, Self, cast

import torch

from panvision.core.files import replacing
from panvision.core.locks import lock_file
from panvision.model.checkpoint import UnreadableError, read_plain

# Stands behind the SHA-256 of all before it at the end of a state's file.
TRAILER = b"panvision state 1\n"
# The newest state, and the one before it in case the disk damages that.
KEPT = 2
LOCK = "lock"

Document = dict[str, Any]


class StateError(ValueError):
    """A file that is no sound state; the message is the reason in one line."""


class _CheckedWriter:
    """A stream for `torch.save` that sums up what it writes.

    PyTorch's archive writer cannot bear an exception (it would end the process), so one is kept for `finish`.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self._sum = stream, hashlib.sha256()
        self._error: OSError | None = None

    def write(self, data: bytes) -> int:
        """Write as files do."""
        if self._error is None:
            try:
                self._stream.write(data)
                self._sum.update(data)
            except OSError as error:
                self._error = error
        return len(data)

    def flush(self) -> None:
        """Do nothing; `replacing` flushes."""

    def finish(self) -> None:
        """Write the sum; raises the first error of all."""
        if self._error is not None:
            raise self._error
        self._stream.write(self._sum.digest() + TRAILER)


def write_state(path: str | Path, document: Document) -> None:
    """Write tensors and plain values with their checksum, whole or not at all, and wait until the disk has them.

    Raises:
        OSError: the disk is full, or the folder cannot be written.
    """
    with replacing(path, durable=True) as scratch, scratch.open("wb") as stream:
        writer = _CheckedWriter(stream)
        torch.save(document, cast(IO[bytes], writer))
        writer.finish()
        stream.flush()


def read_state(path: str | Path) -> Document:
    """What `write_state` wrote; nothing in it is executed.

    Raises:
        StateError: cut short, changed, or something else.
        OSError: it cannot be read.
    """
    data = Path(path).read_bytes()
    end = len(data) - len(TRAILER) - hashlib.sha256().digest_size
    if end < 0 or not data.endswith(TRAILER):
        raise StateError("cut short, or not a state of training")
    payload = memoryview(data)[:end]
    if hashlib.sha256(payload).digest() != data[end : -len(TRAILER)]:
        raise StateError("its bytes do not match their checksum")
    try:
        document = read_plain(io.BytesIO(payload))
    except UnreadableError as error:
        raise StateError(str(error)) from error
    if not isinstance(document, dict):
        raise StateError("not a state of training")
    return document


class StateFolder:
    """The states of one phase of one fingerprint; a context that keeps other processes out.

    Args:
        folder: made if missing.
        fingerprint: a state with another one is not taken.
    """

    def __init__(self, folder: str | Path, fingerprint: str) -> None:
        self.folder, self._fingerprint = Path(folder), fingerprint
        self._lock: IO[str] | None = None

    def __enter__(self) -> Self:
        """Lock the folder and clear up after killed writers.

        Raises:
            BusyError: another process has it.
            OSError: the folder cannot be made or written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = lock_file(self.folder / LOCK)
        for left in self.folder.glob(".*.partial"):
            left.unlink(missing_ok=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._lock is not None:
            self._lock.close()
        self._lock = None

    def save(self, document: Document, *, step: int, epoch: int) -> None:
        """Write a state and drop all but the newest two.

        Raises:
            OSError: it cannot be written; the states before it are as they were.
        """
        path = self.folder / f"state-{step:09d}-{epoch:06d}.pt"
        write_state(path, document | {"fingerprint": self._fingerprint})
        for old in self._states()[KEPT:]:
            old.unlink(missing_ok=True)

    def finish(self, document: Document) -> None:
        """Replace all states by a last one.

        Raises:
            OSError: it cannot be written; the states are as they were.
        """
        path = self.folder / "finished.pt"
        write_state(path, document | {"fingerprint": self._fingerprint})
        for old in (*self._states(), *self.folder.glob("*.damaged")):
            old.unlink(missing_ok=True)

    def newest(self) -> Document | None:
        """The last state that is sound; others are set aside as `<name>.damaged`, each with a line on stderr."""
        waiting = [path for path in (self.folder / "finished.pt", *self._states()) if path.exists()]
        for number, path in enumerate(waiting, 1):
            try:
                document = read_state(path)
                if document.get("fingerprint") != self._fingerprint:
                    raise StateError("it belongs to another training")
            except (StateError, OSError) as error:
                onwards = "the one before it is used" if number < len(waiting) else "training starts anew"
                aside = path.with_name(f"{path.name}.damaged")
                with contextlib.suppress(OSError):
                    path.replace(aside)
                print(f"{path}: {error}; set aside as {aside.name}, {onwards}", file=sys.stderr, flush=True)
            else:
                return document
        return None

    def clear(self) -> None:
        """Remove all states."""
        for path in (self.folder / "finished.pt", *self._states(), *self.folder.glob("*.damaged")):
            path.unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove the folder and all that is in it."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _states(self) -> list[Path]:
        """Newest first."""
        return sorted(self.folder.glob("state-*.pt"), reverse=True)
