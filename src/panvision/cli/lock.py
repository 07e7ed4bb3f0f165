"""A lock that lets one command at a time write to a folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from panvision.core.locks import BusyError, lock_file

LOCK = ".lock"


class FolderBusyError(RuntimeError):
    """Another process is writing to a folder; the message names both and the remedy."""


@contextmanager
def only_writer(folder: Path, option: str) -> Iterator[None]:
    """Create a folder if it is missing, and keep other commands out of it until the block or the process ends.

    Args:
        folder: where the command writes.
        option: the option that names it or a folder above it; shown in the message.

    Raises:
        FolderBusyError: another process is writing to it.
        OSError: the folder cannot be created or written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        lock = lock_file(folder / LOCK)
    except BusyError as error:
        raise FolderBusyError(
            f"{folder}: process {error.process} is writing there; wait until it ends, or name another folder ({option})"
        ) from error
    with lock:
        yield
