"""Files that one process at a time holds."""

import os
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # Windows: locked files are written whole as well, so two writers cannot mix their bytes
    fcntl = None  # type: ignore[assignment]


class BusyError(RuntimeError):
    """Another process holds a file.

    Attributes:
        process: its number, `unknown` if not written yet.
    """

    def __init__(self, path: Path, process: str) -> None:
        super().__init__(f"{path}: process {process} holds it")
        self.process = process


def lock_file(path: Path) -> IO[str]:
    """Create a file if it is missing, and lock it until it is closed or the process ends.

    Forked processes do not inherit a POSIX lock: they may outlive a killed parent for seconds. Systems and file systems
    without locks lock nothing.

    Raises:
        BusyError: another process holds it.
        OSError: the file cannot be opened.
    """
    stream = path.open("a+", encoding="utf-8")
    if fcntl is not None:
        try:
            fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            stream.seek(0)
            process = stream.read().strip() or "unknown"
            stream.close()
            raise BusyError(path, process) from error
        except OSError:
            pass  # a file system without locks
    stream.seek(0)
    stream.truncate()
    stream.write(f"{os.getpid()}\n")
    stream.flush()
    return stream
