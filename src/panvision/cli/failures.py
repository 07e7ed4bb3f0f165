"""Errors as a line for the user: what cannot be used, and the remedy; tracebacks only where they are asked for."""

import errno
import re
import sys
import traceback

from panvision.cli.exits import Exit
from panvision.cli.problem_text import printable

# Packages that `pip install panvision` does not bring → what to install.
EXTRAS = {
    "cv2": "video",
    "gradio": "page",
    "openvino": "openvino",
    "wandb": "wandb",
}
REMEDIES = {
    errno.ENOENT: "check its name",
    errno.EACCES: "change its permissions, or name another",
    errno.EPERM: "change its permissions, or name another",
    errno.EROFS: "name a place that can be written",
    errno.EISDIR: "give a file's name",
    errno.ENOTDIR: "name a place below a folder",
    errno.ENOSPC: "make room, then call the same command again",
    errno.EDQUOT: "make room, then call the same command again",
    errno.ENOMEM: "end other programs, then call the same command again",
    errno.EAGAIN: "end other programs, then call the same command again",
    errno.EADDRINUSE: "name another port, or end what listens there",
}
# What panvision.core.files writes to before it stands under its own name.
PARTIAL = re.compile(r"\.([^/]+)\.\w{8}\.partial(\.\w+)?$")


class UsageError(ValueError):
    """What the arguments name cannot be used; the message says why. Exit code 2."""


def report(error: Exception, command: str, *, debug: bool) -> Exit:
    """Tell an error on standard error, a line each if it lists several.

    Args:
        error: what a command raised.
        command: its name.
        debug: the traceback goes before.

    Returns:
        USAGE for a UsageError, ERROR for what the user can mend, INTERNAL for all else.
    """
    if debug:
        traceback.print_exception(error)
    told = explanation(error)
    if told is None:
        words = " ".join(f"{type(error).__name__}: {error}".split())
        again = "" if debug else "; run again with --debug to see where"
        print(f"panvision {command}: internal error: {printable(words)}{again}", file=sys.stderr)
        return Exit.INTERNAL
    for line in told.splitlines():
        print(f"panvision {command}: {printable(line)}", file=sys.stderr)
    return Exit.USAGE if isinstance(error, UsageError) else Exit.ERROR


def explanation(error: Exception) -> str | None:
    """What the user is told; None for an error that only panvision's developers can mend."""
    if type(error).__module__.partition(".")[0] == "panvision":
        return str(error)  # every class of ours has a message for the user
    if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] not in ("", "panvision"):
        name = str(error.name).partition(".")[0]
        extra = EXTRAS.get(name, "train")
        return f"needs the package {name}, which is not installed; `pip install 'panvision[{extra}]'`"
    if _is_for_want_of_memory(error):
        return "not enough memory; use smaller batches or a smaller model, or end other programs"
    if isinstance(error, OSError):
        return _of_the_system(error)
    return None


def _is_for_want_of_memory(error: Exception) -> bool:
    """Python's error, or PyTorch's: on a GPU it has a class of its own, on a CPU it has not."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error))
    )


def _of_the_system(error: OSError) -> str:
    """Which file, what is wrong with it, and what to do."""
    reason = error.strerror or " ".join(str(error).split()) or type(error).__name__
    # A file that is put in another's place has the user's name as the second.
    name = error.filename if error.filename2 is None else error.filename2
    where = "" if name is None else PARTIAL.sub(r"\1", str(name)) + ": "
    remedy = REMEDIES.get(error.errno or 0, "")
    return f"{where}{reason[0].lower()}{reason[1:]}{f'; {remedy}' if remedy else ''}"
