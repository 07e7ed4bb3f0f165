"""An exported model on ONNX Runtime, with NumPy, Pillow and onnxruntime only."""

import contextlib
import functools
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from panvision.decoding.decoder import RawOutputs
from panvision.inference.backend import Precision, PredictorError
from panvision.inference.exported import End, check_ends, one_line, read_exported

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


class OnnxBackend:
    """One ONNX file with panvision's metadata. A copy in another process (pickle) opens the file again.

    Args:
        path: the file.
        device: `cpu`, the default, or `cuda`, `cuda:1` …
        precision: as for `read_exported`.
        threads: CPU threads; 0: one per core.

    Raises:
        PredictorError: as `read_exported`; or the device is unknown or cannot be used, or has no such precision.
    """

    def __init__(
        self, path: Path, device: str | None = None, *, precision: Precision | None = None, threads: int = 0
    ) -> None:
        self.info, chosen = read_exported(path, precision)
        if chosen == "bfloat16":
            raise PredictorError(f"{path}: ONNX Runtime has no bfloat16 on this processor; use the runtime openvino")
        providers = _providers(device or "cpu")
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
        inputs, outputs = (
            [End(one.name, _KINDS.get(one.type, one.type), one.shape) for one in ends]
            for ends in (self._session.get_inputs(), self._session.get_outputs())
        )
        check_ends(path, self.info, inputs, outputs)
        self._path = path
        self._arguments = path.resolve(), device, precision, threads

    def __getstate__(self) -> tuple[Path, str | None, Precision | None, int]:
        """Return what opens the file again: a session cannot be pickled."""
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
        try:
            outputs = self._session.run(list(self.info.output_names), {"images": images})
        except ORT_ERRORS as error:
            raise PredictorError(
                f"{self._path}: ONNX Runtime cannot run {len(images)} images: {one_line(error)}"
            ) from error
        arrays = (np.asarray(output, dtype=np.float32) for output in outputs)
        return dict(zip(self.info.output_names, arrays, strict=True))


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


def _without_cuda(device: str | None) -> PredictorError:
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
