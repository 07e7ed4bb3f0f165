"""Progress on standard error, beside the results on standard output."""

import contextlib
import os
import sys
from collections.abc import Iterator
from types import TracebackType
from typing import Self


class StatusLine:
    """One line on standard error, where that is a terminal; each text replaces the one before."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.shown = sys.stderr.isatty() and not quiet

    def show(self, text: str) -> None:
        """Replace the line's text."""
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
    """Send standard output to standard error inside the block, also that of processes started in it."""
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
