"""An exported model on ONNX Runtime, with NumPy, Pillow and onnxruntime only."""

import contextlib
import functools
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from panvision.decoding.decoder import RawOutputs
from panvision.inference.backend import METADATA_KEY, ModelInfo, PredictorError, output_shapes
from panvision.inference.onnx_file import OnnxFileError, read_metadata

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
_LONGEST_REASON = 500  # characters


class OnnxBackend:
    """One ONNX file with panvision's metadata. A copy in another process (pickle) opens the file again.

    Args:
        path: the file.
        device: `cpu`, the default, or `cuda`, `cuda:1` …, which run on the CPU if this onnxruntime has no CUDA.
        threads: CPU threads; 0: one per core.

    Raises:
        PredictorError: the file is not ONNX, not exported by panvision, or has parts that an exported model does not
            have; or the device is unknown.
    """

    def __init__(self, path: Path, device: str | None = None, *, threads: int = 0) -> None:
        if path.stat().st_size == 0:
            raise PredictorError(f"{path}: is empty, because export.int8 in params.yaml is false")
        try:
            metadata = read_metadata(path)
        except OnnxFileError as error:
            raise PredictorError(f"{path}: cannot load it: {error}") from error
        except OSError as error:
            raise PredictorError(f"{path}: cannot be read: {error.strerror or error}") from error
        if METADATA_KEY not in metadata:
            raise PredictorError(
                f"{path}: an ONNX file without panvision's metadata; make one with `python stages/export.py`"
            )
        self.info = ModelInfo.from_metadata(metadata[METADATA_KEY], path)
        providers = _providers(device or "cpu")
        try:
            # ONNX Runtime only opens names in UTF-8.
            source = str(path) if _is_utf8(str(path)) else path.read_bytes()
            # With one provider there is no fallback, and ONNX Runtime would print that it tries.
            self._session = onnxruntime.InferenceSession(
                source, session_options(threads), providers=providers, enable_fallback=len(providers) > 1
            )
        except ORT_ERRORS as error:
            raise PredictorError(f"{path}: ONNX Runtime cannot load it: {_one_line(error)}") from error
        self._check_ends(path)
        self._path = path
        self._arguments = path.resolve(), device, threads

    def __getstate__(self) -> tuple[Path, str | None, int]:
        """Return what opens the file again: a session cannot be pickled."""
        return self._arguments

    def __setstate__(self, state: tuple[Path, str | None, int]) -> None:
        """Open the file again."""
        path, device, threads = state
        self.__init__(path, device, threads=threads)  # type: ignore[misc]

    def _check_ends(self, path: Path) -> None:
        """Refuse a graph whose input and outputs differ from the metadata."""
        size = self.info.image_size
        inputs, outputs = self._session.get_inputs(), {one.name: one for one in self._session.get_outputs()}
        needed = output_shapes(self.info)
        if not outputs.keys() >= needed.keys() or [one.name for one in inputs] != ["images"]:
            raise PredictorError(f"{path}: needs the input `images` and the outputs {', '.join(needed)}")
        expected: list[tuple[Any, str, tuple[int, ...]]] = [(inputs[0], "tensor(uint8)", (size, size, 3))]
        expected += [(outputs[name], "tensor(float)", shape) for name, shape in needed.items()]
        for end, kind, shape in expected:
            if end.type != kind or not _fits(end.shape, shape):
                raise PredictorError(
                    f"{path}: {end.name} is {end.type} {end.shape}, its metadata say {kind} {['N', *shape]}; "
                    "export it again"
                )

    def run(self, images: npt.NDArray[np.uint8]) -> RawOutputs:
        """Run images (N, S, S, 3) uint8 RGB, N ≥ 1, through the network.

        Raises:
            PredictorError: the graph of the file cannot run them.
        """
        try:
            outputs = self._session.run(list(self.info.output_names), {"images": images})
        except ORT_ERRORS as error:
            raise PredictorError(
                f"{self._path}: ONNX Runtime cannot run {len(images)} images: {_one_line(error)}"
            ) from error
        arrays = (np.asarray(output, dtype=np.float32) for output in outputs)
        return dict(zip(self.info.output_names, arrays, strict=True))


def _providers(device: str) -> list[Any]:
    """Return ONNX Runtime's providers for a device, the preferred one first, as names or (name, options).

    Raises:
        PredictorError: the device is unknown.
    """
    named = re.fullmatch(r"cpu|cuda(?::(\d+))?", device)
    if named is None:
        raise PredictorError(f"{device}: no device for an ONNX file; use `cpu`, `cuda`, `cuda:1` …")
    providers: list[Any] = ["CPUExecutionProvider"]
    if device != "cpu" and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        # TF32 is on by default: boxes and probabilities would differ by 1e-3 from those of PyTorch and of a CPU
        # (https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html#use_tf32).
        providers.insert(0, ("CUDAExecutionProvider", {"device_id": int(named[1] or 0), "use_tf32": 0}))
    return providers


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


def _fits(found: Sequence[object], expected: tuple[int, ...]) -> bool:
    """True if a declared shape is (any, *expected); symbolic sides fit any number."""
    return len(found) == len(expected) + 1 and all(
        side == wanted or not isinstance(side, int) for side, wanted in zip(found[1:], expected, strict=True)
    )


def _one_line(error: Exception) -> str:
    """Return the message on one line, with unprintable characters of names in the file escaped."""
    words = " ".join(str(error).split())
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in words[:_LONGEST_REASON])
