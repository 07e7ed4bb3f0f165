"""Writers of the pipeline's CSV tables: equal values give equal bytes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from panvision.core.files import replacing

# Rows that a growing table holds in memory.
_HELD = 4096


def write_table(path: str | Path, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Write a table whole or not at all: text quoted where needed, floats in their shortest exact form, None empty."""
    with replacing(path) as scratch:
        _append(scratch, columns, rows, header=True)


class GrowingTable:
    """A table that is written part by part, so that memory does not grow with it."""

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self._path, self._columns = path, columns
        self._rows: list[Sequence[object]] = []
        _append(path, columns, [], header=True)

    def append(self, row: Sequence[object]) -> None:
        """Add a row."""
        self._rows.append(row)
        if len(self._rows) >= _HELD:
            self.flush()

    def flush(self) -> None:
        """Write the rows that are held."""
        _append(self._path, self._columns, self._rows, header=False)
        self._rows = []


def _append(path: Path, columns: Sequence[str], rows: Sequence[Sequence[object]], *, header: bool) -> None:
    import pandas as pd

    table: Any = pd.DataFrame(rows, columns=list(columns), dtype=object)
    table.to_csv(path, mode="a", header=header, index=False, lineterminator="\n", encoding="utf-8")
