"""What is told while a command works, beside its results on standard output."""

import contextlib
import os
import sys
from collections.abc import Iterator
from types import TracebackType
from typing import Self


class StatusLine:
    """What is being done, on standard error where that is a terminal, in place of what stood there before."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.shown = sys.stderr.isatty() and not quiet

    def show(self, text: str) -> None:
        """Put a text on the line."""
        if self.shown:
            print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)

    def wipe(self) -> None:
        """Clear the line, before anything else is printed."""
        self.show("")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.wipe()


@contextlib.contextmanager
def narrated_on_stderr() -> Iterator[None]:
    """What is printed meanwhile goes to standard error, also from processes that are started meanwhile."""
    sys.stdout.flush()
    out, err = 1, 2
    kept = os.dup(out)
    os.dup2(err, out)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(kept, out)
        os.close(kept)
