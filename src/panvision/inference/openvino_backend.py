"""An exported model on OpenVINO, with NumPy, Pillow and openvino only."""

import functools
import threading
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino

from panvision.decoding.decoder import RawOutputs
from panvision.inference.backend import Precision, PredictorError
from panvision.inference.exported import End, ExportedModel, one_line

# OpenVINO's names of the types that an exported model's ends have.
_KINDS = {"u8": "uint8", "f32": "float32"}


class OpenVinoBackend(ExportedModel):
    """An exported model on the CPU. With `bfloat16` the outputs are still float32.

    The layers of an INT8 file that are not quantised are computed in float32.
    """

    def open(self, device: str, precision: Precision, threads: int) -> tuple[list[End], list[End]]:
        """Compile the graph."""
        if device != "cpu":
            raise PredictorError(f"{device}: OpenVINO runs here on the CPU only; use `cpu`, or the runtime onnxruntime")
        if precision == "bfloat16" and not has_bfloat16():
            raise PredictorError(f"{self.path}: this processor has no bfloat16; use float32")
        # Explicit, because where the processor has bfloat16, OpenVINO's default is to use it.
        hints: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "bf16" if precision == "bfloat16" else "f32"}
        hints |= {"PERFORMANCE_HINT": "LATENCY", **({"INFERENCE_NUM_THREADS": threads} if threads else {})}
        try:
            compiled = _core().compile_model(str(self.path), "CPU", hints)
        except RuntimeError as error:
            raise PredictorError(f"{self.path}: OpenVINO cannot load it: {one_line(error)}") from error
        # One request for all threads of the program: a second one would share the same cores.
        self._request, self._turn = compiled.create_infer_request(), threading.Lock()
        return _ends(compiled.inputs), _ends(compiled.outputs)

    def run(self, images: npt.NDArray[np.uint8]) -> RawOutputs:
        """Run images through the request, one thread after the other."""
        with self._turn:
            try:
                found = self._request.infer({"images": images})
            except RuntimeError as error:
                raise PredictorError(
                    f"{self.path}: OpenVINO cannot run {len(images)} images: {one_line(error)}"
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


def _ends(ports: Iterable[Any]) -> list[End]:
    found = []
    for port in ports:
        kind = port.element_type.get_type_name()
        shape = [str(side) if side.is_dynamic else side.get_length() for side in port.partial_shape]
        found += [End(name, _KINDS.get(kind, kind), shape) for name in port.names]
    return found
