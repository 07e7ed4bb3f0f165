"""A folder to which one command at a time writes."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from panvision.core.locks import BusyError, lock_file

LOCK = ".lock"


class FolderBusyError(RuntimeError):
    """Another process writes to a folder; the message names both and the remedy."""


@contextmanager
def only_writer(folder: Path, option: str) -> Iterator[None]:
    """Keep other commands out of a folder, which is made if missing, until the block or the process ends.

    Args:
        folder: what the command writes to.
        option: the one that names the folder or one above it, for the message.

    Raises:
        FolderBusyError: another process has it.
        OSError: the folder cannot be made or written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        lock = lock_file(folder / LOCK)
    except BusyError as error:
        raise FolderBusyError(
            f"{folder}: process {error.process} writes there now; wait until it has ended, or name another folder "
            f"({option})"
        ) from error
    with lock:
        yield
