"""An exported model on ONNX Runtime: NumPy, Pillow and onnxruntime are all it needs."""

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt

from panvision.inference.backend import METADATA_KEY, ModelInfo, PredictorError, RawOutputs

# Since 1.29 ONNX Runtime reports to its makers what it runs, unless it is told not to before it is imported. What a
# camera's computer does stays there. A setting of the user's own is left alone.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

# They share no base class of their own.
ORT_ERRORS = (
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.NoModel,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
)


class OnnxBackend:
    """One ONNX file with the metadata of panvision.

    Args:
        path: the file.
        device: a name starting with `cuda` runs on the GPU where this onnxruntime has CUDA; else the CPU runs it.
        threads: of the CPU; 0: as many as it has cores.

    Raises:
        PredictorError: not ONNX, or not exported by panvision.
    """

    def __init__(self, path: Path, device: str | None = None, *, threads: int = 0) -> None:
        if path.stat().st_size == 0:
            raise PredictorError(
                f"{path}: is empty; the pipeline leaves it so where export.int8 in params.yaml is false"
            )
        providers = ["CPUExecutionProvider"]
        if str(device).startswith("cuda") and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
            providers.insert(0, "CUDAExecutionProvider")
        try:
            self._session = onnxruntime.InferenceSession(path, session_options(threads), providers=providers)
        except ORT_ERRORS as error:
            raise PredictorError(f"{path}: ONNX Runtime cannot load it: {_one_line(error)}") from error
        metadata = self._session.get_modelmeta().custom_metadata_map
        if METADATA_KEY not in metadata:
            raise PredictorError(
                f"{path}: an ONNX file without panvision's metadata; make one with `python stages/export.py`"
            )
        self.info = ModelInfo.from_metadata(metadata[METADATA_KEY], path)
        names = {output.name for output in self._session.get_outputs()}
        needed = self.info.output_names
        if not names.issuperset(needed) or [one.name for one in self._session.get_inputs()] != ["images"]:
            raise PredictorError(f"{path}: needs the input `images` and the outputs {', '.join(needed)}")
        self._path = path

    def run(self, images: npt.NDArray[np.uint8]) -> RawOutputs:
        """Run pictures (N, S, S, 3) uint8 RGB, N ≥ 1, through the network.

        Raises:
            PredictorError: the file's graph cannot take them.
        """
        try:
            outputs = self._session.run(list(self.info.output_names), {"images": images})
        except ORT_ERRORS as error:
            raise PredictorError(
                f"{self._path}: ONNX Runtime cannot run {len(images)} pictures: {_one_line(error)}"
            ) from error
        arrays = (np.asarray(output, dtype=np.float32) for output in outputs)
        return RawOutputs(**dict(zip(self.info.output_names, arrays, strict=True)))


def session_options(threads: int = 0) -> onnxruntime.SessionOptions:
    """How every session of panvision runs, on so many threads (0: as many as there are cores)."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Between two pictures the threads sleep, instead of taking the cores from what else a robot computes.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return options


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
