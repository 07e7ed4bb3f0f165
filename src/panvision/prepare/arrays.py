""".npy files that several processes fill row by row, in constant memory; a full disk raises an error."""

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

# Bytes that are moved at a time when gaps are closed.
_MOVED_BYTES = 1 << 22


class ArrayFile:
    """A .npy file of uint8 rows of one shape, whose length is known only at the end.

    A process that writes to a memory map is killed by a signal when the disk is full. The place of a row follows from
    its number alone, so processes can write different rows: `with ArrayFile(path, shape) as a: a.write(7, row)`.
    """

    def __init__(self, path: Path, row_shape: tuple[int, ...]) -> None:
        self._path, self._row_shape = path, row_shape
        self._row_bytes = int(np.prod(row_shape))
        self._data_start = len(_header((0, *row_shape)))

    def __enter__(self) -> Self:
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
        self._stream = os.fdopen(handle, "r+b", buffering=0)
        return self

    def __exit__(self, *error: object) -> None:
        self._stream.close()

    def write(self, number: int, row: npt.NDArray[np.uint8]) -> None:
        """Write a row at its number, 0 or more; an earlier row there is replaced.

        Raises:
            ValueError: another shape or type than the file's.
            OSError: the disk is full.
        """
        if row.shape != self._row_shape or row.dtype != np.uint8:
            raise ValueError(f"{self._path}: expected uint8 {self._row_shape}, got {row.dtype} {row.shape}")
        self._put(number, np.ascontiguousarray(row).reshape(-1).data)

    def finish(self, kept: Sequence[int]) -> None:
        """Move the kept rows to the front, in their order, and write the header.

        Args:
            kept: rising numbers of the rows to keep.

        Raises:
            OSError: the disk is full, or the header is too long.
        """
        header = _header((len(kept), *self._row_shape))
        if len(header) != self._data_start:
            raise OSError(f"{self._path}: the header is too long")
        self._close_gaps(np.asarray(kept, np.int64))
        self._stream.truncate(self._data_start + len(kept) * self._row_bytes)
        self._stream.seek(0)
        _write_all(self._stream, memoryview(header))

    def _close_gaps(self, kept: npt.NDArray[np.int64]) -> None:
        at_once = max(1, _MOVED_BYTES // self._row_bytes)
        # All rows before the first gap are in place.
        target = int(np.count_nonzero(kept == np.arange(len(kept))))
        while target < len(kept):
            ahead = kept[target : target + at_once] - kept[target]
            count = int(np.count_nonzero(ahead == np.arange(len(ahead))))
            self._stream.seek(self._data_start + int(kept[target]) * self._row_bytes)
            self._put(target, memoryview(self._stream.read(count * self._row_bytes)))
            target += count

    def _put(self, number: int, content: memoryview) -> None:
        self._stream.seek(self._data_start + number * self._row_bytes)
        _write_all(self._stream, content)


def _header(shape: tuple[int, ...]) -> bytes:
    # NumPy pads headers so that the first dimension can grow in place.
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return stream.getvalue()


def _write_all(stream: io.FileIO, content: memoryview) -> None:
    """Write all of it: a file without a buffer may take only a part, if the disk is nearly full."""
    while content:
        content = content[stream.write(content) or 0 :]
