"""An exported model on ONNX Runtime, with NumPy, Pillow and onnxruntime only."""

import contextlib
import functools
import os
import re
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from panvision.decoding.decoder import RawOutputs
from panvision.inference.backend import Precision, PredictorError
from panvision.inference.exported import End, ExportedModel, one_line

# Since 1.29 ONNX Runtime sends telemetry unless this is set before its import. A setting of the user is kept.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

# They have no common base class.
ORT_ERRORS = (
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.NoModel,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
    # Its message quotes names in the file, which may be no text.
    UnicodeDecodeError,
)

# Bytes that all graphs of this process may allocate together: a small file can describe tensors of any size.
MOST_MEMORY = 8 * 2**30
# ONNX Runtime's names of the types that an exported model's ends have.
_KINDS = {"tensor(uint8)": "uint8", "tensor(float)": "float32"}


class OnnxBackend(ExportedModel):
    """An exported model on the CPU, or on the GPU that `cuda`, `cuda:1` … names."""

    def open(self, device: str, precision: Precision, threads: int) -> tuple[list[End], list[End]]:
        """Open a session."""
        path = self.path
        if precision == "bfloat16":
            raise PredictorError(f"{path}: ONNX Runtime has no bfloat16 on this processor; use the runtime openvino")
        providers = _providers(device)
        try:
            # ONNX Runtime only opens names in UTF-8.
            source = str(path) if _is_utf8(str(path)) else path.read_bytes()
            # Without fallback: ONNX Runtime would otherwise try the CPU where CUDA fails later, and print that.
            self._session = onnxruntime.InferenceSession(
                source, session_options(threads), providers=providers, enable_fallback=False
            )
        except ORT_ERRORS as error:
            raise PredictorError(f"{path}: ONNX Runtime cannot load it: {one_line(error)}") from error
        if len(providers) > 1 and "CUDAExecutionProvider" not in self._session.get_providers():
            raise _without_cuda(device)
        return _ends(self._session.get_inputs()), _ends(self._session.get_outputs())

    def run(self, images: npt.NDArray[np.uint8]) -> RawOutputs:
        """Run images through the session."""
        try:
            outputs = self._session.run(list(self.info.output_names), {"images": images})
        except ORT_ERRORS as error:
            raise PredictorError(
                f"{self.path}: ONNX Runtime cannot run {len(images)} images: {one_line(error)}"
            ) from error
        arrays = (np.asarray(output, dtype=np.float32) for output in outputs)
        return dict(zip(self.info.output_names, arrays, strict=True))


def _ends(ends: Iterable[Any]) -> list[End]:
    return [End(one.name, _KINDS.get(one.type, one.type), one.shape) for one in ends]


def _providers(device: str) -> list[Any]:
    """Return ONNX Runtime's providers for a device, the preferred one first, as names or (name, options).

    Raises:
        PredictorError: the device is unknown, or this onnxruntime has no CUDA.
    """
    named = re.fullmatch(r"cpu|cuda(?::(\d+))?", device)
    if named is None:
        raise PredictorError(f"{device}: no device for an ONNX file; use `cpu`, `cuda`, `cuda:1` …")
    if device == "cpu":
        return ["CPUExecutionProvider"]
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        raise _without_cuda(device)
    # TF32 is on by default: boxes and probabilities would differ by 1e-3 from those of PyTorch and of a CPU
    # (https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html#use_tf32).
    return [("CUDAExecutionProvider", {"device_id": int(named[1] or 0), "use_tf32": 0}), "CPUExecutionProvider"]


def _without_cuda(device: str) -> PredictorError:
    return PredictorError(
        f"{device}: this onnxruntime cannot use the GPU; `pip install onnxruntime-gpu` in place of onnxruntime, with "
        "the CUDA libraries that it names, or use `cpu`"
    )


def session_options(threads: int = 0) -> onnxruntime.SessionOptions:
    """Return the options of every session, with this number of threads (0: one per core)."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Between two images the threads sleep, which leaves the cores to other programs of the device.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.add_session_config_entry("session.use_env_allocators", "1")
    # Its errors are exceptions; it would print further lines.
    options.log_severity_level = 4
    _limit_memory()
    return options


@functools.cache
def _limit_memory() -> None:
    """Let the sessions of this process allocate from one allocator with MOST_MEMORY."""
    memory = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    # If the program already has its own allocator, that one's limit applies.
    with contextlib.suppress(*ORT_ERRORS):
        onnxruntime.create_and_register_allocator(memory, onnxruntime.OrtArenaCfg({"max_mem": MOST_MEMORY}))


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
