"""Training checkpoints: what an interrupted phase resumes from, when and where it is saved, and how it is read.

One folder per phase and fingerprint holds `state-<step>-<epoch>.pt` files, the newest two, and after the last epoch
`finished.pt`. A file is what `torch.save` writes, its SHA-256 and a trailer: it is written whole or not at all, and
checked when it is read.
"""

import contextlib
import hashlib
import io
import os
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Any, BinaryIO, Self, cast

import torch

from panvision.core.files import replacing
from panvision.core.locks import BusyError, lock_file
from panvision.model.checkpoint import UnreadableError, read_plain
from panvision.training.guards import TrainingError
from panvision.training.settings import TrainSettings

VARIABLE = "PANVISION_SCRATCH"
DEFAULT = ".panvision/scratch"
LOCK, FINISHED = "lock", "finished.pt"
# Follows the SHA-256 of everything before it at the end of a file.
TRAILER = b"panvision state 1\n"
# The newest training checkpoint, and the one before it in case the disk damages that.
KEPT = 2
# Both phases of the last two interrupted experiments.
KEPT_FOLDERS = 4
# An interrupted training that was not resumed for this long will not be resumed, and its files are large.
KEPT_SECONDS = 14 * 24 * 3600

Document = dict[str, Any]


class DamagedError(ValueError):
    """A file that is not an intact training checkpoint; the message is the reason in one line."""


@dataclass(frozen=True)
class Scratch:
    """The untracked folder for training checkpoints.

    Attributes:
        folder: one sub-folder per phase and fingerprint.
        lock: the dvc.lock that will name the finished model's MD5. Until it does, DVC may have lost the model (killed,
            or its cache's disk full), so the phase keeps it. None: nothing stores the outputs elsewhere, and the
            finished model is not kept unless `keep` is true.
        keep: keep the finished model without such a file too; the caller removes it.
    """

    folder: Path
    lock: Path | None = None
    keep: bool = False

    @classmethod
    def of_stage(cls) -> "Scratch":
        """Return the scratch folder of a stage script; DVC names the stage in the environment."""
        return cls(Path(os.environ.get(VARIABLE) or DEFAULT), Path("dvc.lock") if "DVC_STAGE" in os.environ else None)

    @classmethod
    def below(cls, folder: Path, *, keep: bool = False) -> "Scratch":
        """Return the scratch folder of a training without DVC, by default `folder`."""
        return cls(Path(os.environ.get(VARIABLE) or folder), keep=keep)

    def stored(self, md5: str) -> bool:
        """True if dvc.lock names a file of this MD5."""
        return self.lock is not None and self.lock.is_file() and md5 in self.lock.read_text(encoding="utf-8")

    def prune(self, current: str) -> None:
        """Remove checkpoints of other trainings: all but the newest, those too old, none that a process works on."""
        with contextlib.suppress(OSError):
            others = [path for path in self.folder.iterdir() if path.is_dir() and path.name != current]
            others.sort(key=_changed, reverse=True)
            oldest = time.time() - KEPT_SECONDS
            for number, path in enumerate(others):
                if number >= KEPT_FOLDERS - 1 or _changed(path) < oldest:
                    remove_training(path)


def _changed(folder: Path) -> float:
    """Return when a folder last received a checkpoint, in seconds since 1970."""
    return max((path.stat().st_mtime for path in folder.iterdir() if path.name != LOCK), default=folder.stat().st_mtime)


def remove_training(folder: Path) -> None:
    """Remove one training's checkpoints, unless a process works on it."""
    with contextlib.suppress(BusyError), lock_file(folder / LOCK):
        shutil.rmtree(folder, ignore_errors=True)


class TrainingCheckpoints:
    """The training checkpoints of one phase; a context that keeps other processes out.

    Args:
        scratch: where to save.
        phase: `phase1` or `phase2`.
        fingerprint: of the training; a checkpoint with another one is not used.

    Attributes:
        folder: of this training.
    """

    def __init__(self, scratch: Scratch, phase: str, fingerprint: str) -> None:
        self._scratch, self._phase, self._fingerprint = scratch, phase, fingerprint
        self.folder = scratch.folder / f"{phase}-{fingerprint[:16]}"
        self._lock: IO[str] | None = None
        self._writable = True
        self._warned = False

    def __enter__(self) -> Self:
        """Lock the folder and remove what killed writers left.

        Raises:
            TrainingError: another process trains the same.
        """
        self._scratch.prune(self.folder.name)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = lock_file(self.folder / LOCK)
            for left in self.folder.glob(".*.partial"):
                left.unlink(missing_ok=True)
        except BusyError as error:
            raise TrainingError(
                f"{self._phase}: process {error.process} trains this already ({self.folder}); wait for it or stop it, "
                "then run this again"
            ) from error
        except OSError as error:
            self._writable = False
            self._warn(
                f"{error.strerror}; an interruption will cost the whole training; set {VARIABLE} to a writable folder"
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._lock is not None:
            self._lock.close()
        self._lock = None

    def load(self) -> Document | None:
        """Return the checkpoint to resume from, None to start from the first step.

        Damaged files are set aside as `<name>.damaged`. If DVC has stored the finished model and asks for it again, the
        phase is trained again.
        """
        found = self._newest() if self._writable else None
        if found is None or not found["finished"]:
            return found
        if self._scratch.stored(found["md5"]):
            self.clear()
            return None
        print(f"{self._phase}: trained to the end at {found['saved']}; its outputs are written again", flush=True)
        return found

    def save(self, document: Document, *, step: int, epoch: int) -> bool:
        """Write a checkpoint and remove all but the newest two.

        A failure costs one warning in a training. The files before are as they were.

        Returns:
            True if it was written.
        """
        if not self._writable:
            return False
        try:
            self._write(f"state-{step:09d}-{epoch:06d}.pt", document | {"finished": False})
            for old in self._states()[KEPT:]:
                old.unlink(missing_ok=True)
        except OSError as error:
            self._warn(
                f"the training checkpoint cannot be saved ({error.strerror or error}); training continues, but an "
                "interruption costs what was done since the last one"
            )
            return False
        return True

    def finish(self, document: Document, md5: str) -> None:
        """Replace all checkpoints by a last one, from which the outputs can be written again.

        On a full disk the checkpoints remain, and the last of them leads here again.
        """
        if self._writable:
            with contextlib.suppress(OSError):
                self._write(FINISHED, document | {"finished": True, "md5": md5})
                for old in (*self._states(), *self.folder.glob("*.damaged")):
                    old.unlink(missing_ok=True)

    def close(self) -> None:
        """Remove the folder when the outputs are written, unless something may still need the finished model."""
        if self._scratch.lock is None and not self._scratch.keep:
            shutil.rmtree(self.folder, ignore_errors=True)

    def clear(self) -> None:
        """Remove all checkpoints."""
        for path in (self.folder / FINISHED, *self._states(), *self.folder.glob("*.damaged")):
            path.unlink(missing_ok=True)

    def _write(self, name: str, document: Document) -> None:
        saved = datetime.now().astimezone().isoformat(timespec="seconds")
        write_document(self.folder / name, document | {"fingerprint": self._fingerprint, "saved": saved})

    def _newest(self) -> Document | None:
        waiting = [path for path in (self.folder / FINISHED, *self._states()) if path.exists()]
        for number, path in enumerate(waiting, 1):
            try:
                document = read_document(path)
                if document.get("fingerprint") != self._fingerprint:
                    raise DamagedError("it belongs to another training")
            except (DamagedError, OSError) as error:
                onwards = "using the one before it" if number < len(waiting) else "training starts from the first step"
                aside = path.with_name(f"{path.name}.damaged")
                with contextlib.suppress(OSError):
                    path.replace(aside)
                print(f"{path}: {error}; set aside as {aside.name}, {onwards}", file=sys.stderr, flush=True)
            else:
                return document
        return None

    def _states(self) -> list[Path]:
        """Return the checkpoints of this phase, newest first."""
        return sorted(self.folder.glob("state-*.pt"), reverse=True)

    def _warn(self, what: str) -> None:
        if not self._warned:
            print(f"{self._phase}: warning: {self.folder}: {what}", file=sys.stderr, flush=True)
        self._warned = True


class SaveTimer:
    """Says when the next checkpoint is due: after `save_steps` steps or `save_minutes` minutes.

    Args:
        settings: the two limits.
        step: steps taken so far.
        clock: seconds.
    """

    def __init__(self, settings: TrainSettings, step: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._steps, self._minutes, self._clock = settings.save_steps, settings.save_minutes, clock
        self.restart(step)

    def restart(self, step: int) -> None:
        """Count from here."""
        self._step, self._time = step, self._clock()

    def due(self, step: int) -> bool:
        """True if a checkpoint is due after that many steps."""
        enough = self._steps is not None and step - self._step >= self._steps
        return enough or (self._minutes is not None and self._clock() - self._time >= 60 * self._minutes)


class CheckedWriter:
    """A stream for `torch.save` that hashes what it writes.

    PyTorch's archive writer ends the process on an exception, so an error is kept for `finish`.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self._sum = stream, hashlib.sha256()
        self._error: OSError | None = None

    def write(self, data: bytes) -> int:
        """Write like a file."""
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
        """Write the hash; raise the first error of all."""
        if self._error is not None:
            raise self._error
        self._stream.write(self._sum.digest() + TRAILER)


def write_document(path: str | Path, document: Document) -> None:
    """Write tensors and plain values with their checksum, whole or not at all, and wait until the disk has them.

    Raises:
        OSError: the disk is full, or the folder cannot be written.
    """
    with replacing(path, durable=True) as scratch, scratch.open("wb") as stream:
        writer = CheckedWriter(stream)
        torch.save(document, cast(IO[bytes], writer))
        writer.finish()
        stream.flush()


def read_document(path: str | Path) -> Document:
    """Return what `write_document` wrote; nothing in it is executed.

    Raises:
        DamagedError: cut short, changed, or something else.
        OSError: it cannot be read.
    """
    data = Path(path).read_bytes()
    end = len(data) - len(TRAILER) - hashlib.sha256().digest_size
    if end < 0 or not data.endswith(TRAILER):
        raise DamagedError("cut short, or not a training checkpoint")
    payload = memoryview(data)[:end]
    if hashlib.sha256(payload).digest() != data[end : -len(TRAILER)]:
        raise DamagedError("its bytes do not match their checksum")
    try:
        document = read_plain(io.BytesIO(payload))
    except UnreadableError as error:
        raise DamagedError(str(error)) from error
    if not isinstance(document, dict):
        raise DamagedError("not a training checkpoint")
    return document
