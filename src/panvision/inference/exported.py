"""Exported models on any runtime: the description in the file, its precision, and the ends of its graph."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from panvision.decoding.decoder import RawOutputs
from panvision.inference.backend import METADATA_KEY, ModelInfo, Precision, PredictorError, output_shapes
from panvision.inference.onnx_file import OnnxFileError, read_onnx

_LONGEST_REASON = 500  # characters


class End(NamedTuple):
    """An input or output of a graph.

    Attributes:
        name: its name.
        kind: the type of its values as NumPy calls it, or the runtime's name for another type.
        shape: its sides; one that is not an integer fits any number.
    """

    name: str
    kind: str
    shape: Sequence[object]


class ExportedModel(ABC):
    """One ONNX file with panvision's metadata. A copy in another process (pickle) opens the file again.

    Args:
        path: the file.
        device: `cpu`, the default, or another one that the runtime has.
        precision: as for `read_exported`.
        threads: CPU threads; 0: the runtime's default.

    Raises:
        PredictorError: as `read_exported`; or the device is unknown or cannot be used, or has no such precision; or the
            graph's input and outputs differ from the metadata.
    """

    def __init__(
        self, path: Path, device: str | None = None, *, precision: Precision | None = None, threads: int = 0
    ) -> None:
        self.info, chosen = read_exported(path, precision)
        self.path = path
        inputs, outputs = self.open(device or "cpu", chosen, threads)
        check_ends(path, self.info, inputs, outputs)
        self._again = partial(type(self), path.resolve(), device, precision=precision, threads=threads)

    def __reduce__(self) -> tuple[Callable[[], Any], tuple[()]]:
        """Return what opens the file again: what a runtime makes of it cannot be pickled."""
        return self._again, ()

    @abstractmethod
    def open(self, device: str, precision: Precision, threads: int) -> tuple[list[End], list[End]]:
        """Open the file at `path`; return the inputs and the outputs of its graph.

        Raises:
            PredictorError: the runtime cannot open it, or not on this device or in this precision.
        """

    @abstractmethod
    def run(self, images: npt.NDArray[np.uint8]) -> RawOutputs:
        """Run images (N, S, S, 3) uint8 RGB, N ≥ 1, through the network.

        Raises:
            PredictorError: the graph of the file cannot run them.
        """


def read_exported(path: Path, wanted: Precision | None = None) -> tuple[ModelInfo, Precision]:
    """Return the description of an exported model, and the precision to run it with.

    Args:
        path: the ONNX file.
        wanted: `float32` and `bfloat16` are for a float file, `int8` is for an INT8 file; None: the file's own.

    Raises:
        PredictorError: the file is not ONNX, was not exported by panvision, has parts that an exported model does not
            have, or is of another precision.
    """
    try:
        if path.stat().st_size == 0:
            raise PredictorError(f"{path}: is empty, because export.int8 in params.yaml is false")
        metadata, quantised = read_onnx(path)
    except OnnxFileError as error:
        raise PredictorError(f"{path}: cannot load it: {error}") from error
    except OSError as error:
        raise PredictorError(f"{path}: cannot be read: {error.strerror or error}") from error
    if METADATA_KEY not in metadata:
        raise PredictorError(
            f"{path}: an ONNX file without panvision's metadata; make one with `python stages/export.py`"
        )
    info = ModelInfo.from_metadata(metadata[METADATA_KEY], path)
    if quantised and wanted not in (None, "int8"):
        raise PredictorError(f"{path}: is an INT8 file and cannot run in {wanted}; name the float file, panvision.onnx")
    if wanted == "int8" and not quantised:
        raise PredictorError(f"{path}: is a float file and cannot run in int8; name the INT8 file, panvision.int8.onnx")
    return info, "int8" if quantised else wanted or "float32"


def check_ends(path: Path, info: ModelInfo, inputs: Sequence[End], outputs: Iterable[End]) -> None:
    """Refuse a graph whose input and outputs differ from the metadata.

    Raises:
        PredictorError: they differ.
    """
    size, found = info.image_size, {one.name: one for one in outputs}
    needed = output_shapes(info)
    if not found.keys() >= needed.keys() or [one.name for one in inputs] != ["images"]:
        raise PredictorError(f"{path}: needs the input `images` and the outputs {', '.join(needed)}")
    expected: list[tuple[End, str, tuple[int, ...]]] = [(inputs[0], "uint8", (size, size, 3))]
    expected += [(found[name], "float32", shape) for name, shape in needed.items()]
    for end, kind, shape in expected:
        if end.kind != kind or not _fits(end.shape, shape):
            raise PredictorError(
                f"{path}: {end.name} is {end.kind} {list(end.shape)}, its metadata say {kind} {['N', *shape]}; "
                "export it again"
            )


def _fits(found: Sequence[object], expected: tuple[int, ...]) -> bool:
    """True if a declared shape is (any, *expected); symbolic sides fit any number."""
    return len(found) == len(expected) + 1 and all(
        side == wanted or not isinstance(side, int) for side, wanted in zip(found[1:], expected, strict=True)
    )


def one_line(error: Exception) -> str:
    """Return a runtime's message on one line, with unprintable characters of names in the file escaped."""
    words = " ".join(str(error).split())
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in words[:_LONGEST_REASON])
