"""An exported model on OpenVINO, with NumPy, Pillow and openvino only."""

import functools
import threading
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino

from panvision.decoding.decoder import RawOutputs
from panvision.inference.backend import Precision, PredictorError
from panvision.inference.exported import End, check_ends, one_line, read_exported

# OpenVINO's names of the types that an exported model's ends have.
_KINDS = {"u8": "uint8", "f32": "float32"}


class OpenVinoBackend:
    """One ONNX file with panvision's metadata on the CPU. A copy in another process (pickle) opens the file again.

    The layers of an INT8 file that are not quantised are computed in float32.

    Args:
        path: the file.
        device: `cpu`, the default.
        precision: as for `read_exported`; with `bfloat16` the outputs are still float32.
        threads: CPU threads; 0: OpenVINO's default.

    Raises:
        PredictorError: as `read_exported`; or the device is another one, or has no such precision.
    """

    def __init__(
        self, path: Path, device: str | None = None, *, precision: Precision | None = None, threads: int = 0
    ) -> None:
        self.info, chosen = read_exported(path, precision)
        if device not in (None, "cpu"):
            raise PredictorError(f"{device}: OpenVINO runs here on the CPU only; use `cpu`, or the runtime onnxruntime")
        if chosen == "bfloat16" and not has_bfloat16():
            raise PredictorError(f"{path}: this processor has no bfloat16; use float32")
        # Explicit, because where the processor has bfloat16, OpenVINO's default is to use it.
        hints: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "bf16" if chosen == "bfloat16" else "f32"}
        hints |= {"PERFORMANCE_HINT": "LATENCY", **({"INFERENCE_NUM_THREADS": threads} if threads else {})}
        try:
            compiled = _core().compile_model(str(path), "CPU", hints)
        except RuntimeError as error:
            raise PredictorError(f"{path}: OpenVINO cannot load it: {one_line(error)}") from error
        inputs, outputs = (
            [End(name, _kind(port), _shape(port)) for port in ports for name in port.names]
            for ports in (compiled.inputs, compiled.outputs)
        )
        check_ends(path, self.info, inputs, outputs)
        # One request for all threads of the program: a second one would share the same cores.
        self._request, self._turn = compiled.create_infer_request(), threading.Lock()
        self._path = path
        self._arguments = path.resolve(), device, precision, threads

    def __getstate__(self) -> tuple[Path, str | None, Precision | None, int]:
        """Return what opens the file again: a compiled model cannot be pickled."""
        return self._arguments

    def __setstate__(self, state: tuple[Path, str | None, Precision | None, int]) -> None:
        """Open the file again."""
        path, device, precision, threads = state
        self.__init__(path, device, precision=precision, threads=threads)  # type: ignore[misc]

    def run(self, images: npt.NDArray[np.uint8]) -> RawOutputs:
        """Run images (N, S, S, 3) uint8 RGB, N ≥ 1, through the network.

        Raises:
            PredictorError: the graph of the file cannot run them.
        """
        with self._turn:
            try:
                found = self._request.infer({"images": images})
            except RuntimeError as error:
                raise PredictorError(
                    f"{self._path}: OpenVINO cannot run {len(images)} images: {one_line(error)}"
                ) from error
            # Copies: the next images overwrite the request's outputs.
            return {name: np.array(found[name], dtype=np.float32) for name in self.info.output_names}


def has_bfloat16() -> bool:
    """True if this processor computes in bfloat16 faster than in float32."""
    return "BF16" in _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


@functools.cache
def _core() -> Any:
    """Return the one core of this process.

    Its CPU plugin sets an alternate signal stack and restores the former one at its end. Of two cores that end in the
    order in which they were made, the second restores the freed stack of the first, and the next signal is fatal.
    """
    return openvino.Core()


def _kind(port: Any) -> str:
    name = port.element_type.get_type_name()
    return _KINDS.get(name, name)


def _shape(port: Any) -> list[int | str]:
    return [str(side) if side.is_dynamic else side.get_length() for side in port.partial_shape]
