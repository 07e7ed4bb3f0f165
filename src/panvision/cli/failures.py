"""Errors as one line for the user, with the remedy; tracebacks only on request."""

import errno
import re
import sys
import traceback

from panvision.cli.exits import Exit
from panvision.cli.problem_text import printable

# Packages that the base installation does not have → the extra that brings them.
EXTRAS = {
    "cv2": "video",
    "openvino": "openvino",
    "wandb": "wandb",
}
_OTHER = "change its permissions, or name another"
_ROOM = "free some space, then call the same command again"
_MEMORY = "end other programs, then call the same command again"
REMEDIES = {
    errno.ENOENT: "check its name",
    errno.EACCES: _OTHER,
    errno.EPERM: _OTHER,
    errno.EROFS: "name a writable folder",
    errno.EISDIR: "name a file",
    errno.ENOTDIR: "name a folder",
    errno.EEXIST: "name a folder, or a name that is not taken",
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.ENOMEM: _MEMORY,
    errno.EAGAIN: _MEMORY,
    errno.EADDRINUSE: "name another port, or end the program that uses it",
}
# The scratch file of panvision.core.files, which the user does not know.
PARTIAL = re.compile(r"\.([^/]+)\.\w{8}\.partial(\.\w+)?$")


class UsageError(ValueError):
    """The arguments name something unusable; the message says why. Exit code 2."""


def report(error: Exception, command: str, *, debug: bool) -> Exit:
    """Print an error on standard error, one line each if it lists several.

    Args:
        error: the error of a command.
        command: how the command is called, with the program's name.
        debug: print the traceback first.

    Returns:
        USAGE for a UsageError, ERROR for what the user can fix, INTERNAL for all else.
    """
    if debug:
        traceback.print_exception(error)
    message = explanation(error)
    if message is None:
        words = " ".join(f"{type(error).__name__}: {error}".split())
        again = "" if debug else "; run again with --debug to see where"
        print(f"{command}: internal error: {printable(words)}{again}", file=sys.stderr)
        return Exit.INTERNAL
    for line in message.splitlines():
        print(f"{command}: {printable(line)}", file=sys.stderr)
    return Exit.USAGE if isinstance(error, UsageError) else Exit.ERROR


def explanation(error: Exception) -> str | None:
    """Return the message for the user; None for an error that only panvision's developers can fix."""
    if type(error).__module__.partition(".")[0] == "panvision":
        return str(error)  # every error class of panvision has a message for the user
    if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] not in ("", "panvision"):
        name = str(error.name).partition(".")[0]
        extra = EXTRAS.get(name, "train")
        return f"needs the package {name}, which is not installed; `pip install '.[{extra}]'` in panvision's repository"
    if _is_out_of_memory(error):
        return "not enough memory; use smaller batches or a smaller model, or end other programs"
    if isinstance(error, OSError):
        return _of_the_system(error)
    return None


def _is_out_of_memory(error: Exception) -> bool:
    # PyTorch has its own class for a GPU's memory, and none for a CPU's.
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error))
    )


def _of_the_system(error: OSError) -> str:
    """Return the file, the reason and the remedy."""
    reason = error.strerror or " ".join(str(error).split()) or type(error).__name__
    # Of a file that replaces another, the user knows the second name.
    name = error.filename if error.filename2 is None else error.filename2
    where = "" if name is None else PARTIAL.sub(r"\1", str(name)) + ": "
    remedy = REMEDIES.get(error.errno or 0, "")
    return f"{where}{reason[0].lower()}{reason[1:]}{f'; {remedy}' if remedy else ''}"
