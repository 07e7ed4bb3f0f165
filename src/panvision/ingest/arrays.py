""".npy files written row by row: flat memory, and an error instead of a crash when the disk is full."""

from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt


class ArrayWriter:
    """Appends uint8 rows of one shape to a .npy file whose length is known only at the end.

    A memory map would have to know the length first, and dies by a signal when the disk is full.
    """

    def __init__(self, path: Path, row_shape: tuple[int, ...]) -> None:
        self._path, self._row_shape, self._rows = path, row_shape, 0
        self._stream = path.open("wb")
        self._write_header()
        self._data_start = self._stream.tell()

    def append(self, row: npt.NDArray[np.uint8]) -> None:
        """Write one row.

        Raises:
            ValueError: another shape or type than the first rows.
            OSError: the disk is full.
        """
        if row.shape != self._row_shape or row.dtype != np.uint8:
            raise ValueError(f"{self._path}: expected uint8 {self._row_shape}, got {row.dtype} {row.shape}")
        self._stream.write(np.ascontiguousarray(row).data)
        self._rows += 1

    def _write_header(self) -> None:
        # numpy pads headers so that the first dimension may grow in place.
        header = {"descr": "|u1", "fortran_order": False, "shape": (self._rows, *self._row_shape)}
        np.lib.format.write_array_header_1_0(self._stream, header)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._stream:
            if error is None:
                self._stream.seek(0)
                self._write_header()
                if self._stream.tell() != self._data_start:
                    raise OSError(f"{self._path}: the header outgrew its place")
