"""A folder to which one command at a time writes."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"


class FolderBusyError(RuntimeError):
    """Another process writes to a folder; the message names both and the remedy."""


@contextmanager
def only_writer(folder: Path, option: str) -> Iterator[None]:
    """Keep other commands out of a folder, which is made if missing, until the block or the process ends.

    The lock is POSIX's, which forked processes do not inherit: they may outlive a killed command for seconds.

    Args:
        folder: what the command writes to.
        option: the one that names the folder or one above it, for the message.

    Raises:
        FolderBusyError: another process has it.
        OSError: the folder cannot be made or written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a+", encoding="utf-8") as stream:
        if fcntl is not None:
            try:
                fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError) as error:
                stream.seek(0)
                process = stream.read().strip() or "unknown"
                raise FolderBusyError(
                    f"{folder}: process {process} writes there now; wait until it has ended, or name another folder "
                    f"({option})"
                ) from error
            except OSError:
                pass  # a file system without locks
        stream.seek(0)
        stream.truncate()
        stream.write(f"{os.getpid()}\n")
        stream.flush()
        yield
