"""A line on the terminal that says what is being done, and is gone in the end."""

import sys
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
