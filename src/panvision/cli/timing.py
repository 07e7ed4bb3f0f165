"""How fast a model file is, beside the fastest that its runtime convolves on this machine; no stage reaches this."""

import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from panvision.inference.backend import PredictorError
from panvision.inference.predictor import Predictor

Images = npt.NDArray[np.uint8]
Run = Callable[[], object]

# The limit: a 3×3 convolution of 256 channels on 64 × 64 places, batch 1: the shape that kernels are tuned for.
LIMIT_CHANNELS, LIMIT_SIDE = 256, 64
LIMIT_MACS = LIMIT_CHANNELS**2 * 9 * LIMIT_SIDE**2


def interleaved(runs: Mapping[str, Run], *, warmup: int, rounds: int) -> dict[str, npt.NDArray[np.float64]]:
    """Time several things in turns, so that what else the machine does meets all of them alike.

    Args:
        runs: by name, what to call.
        warmup: rounds before those that count.
        rounds: rounds that count, at least 1.

    Returns:
        By name, seconds of wall time per call, (rounds,).
    """
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(warmup + rounds):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if turn >= warmup:
                seconds[name].append(time.perf_counter() - start)
    return {name: np.array(values) for name, values in seconds.items()}


def noise(count: int, side: int) -> Images:
    """Pictures (count, side, side, 3) for a network whose time does not depend on what they show."""
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def open_model(path: Path, threads: int) -> Predictor:
    """A model file on the CPU with a number of threads (0: the runtime's own choice).

    Raises:
        PredictorError: as `Predictor.load`.
    """
    if path.suffix.lower() == ".onnx" and path.is_file():
        from panvision.inference.onnx_backend import OnnxBackend

        return Predictor(OnnxBackend(path, "cpu", threads=threads))
    predictor = Predictor.load(path, "cpu")
    if threads:
        import torch

        torch.set_num_threads(threads)
    return predictor


def count_macs(path: Path, predictor: Predictor) -> int:
    """Multiplications with addition that one picture costs: convolutions, transposed ones and matrix products."""
    if path.suffix.lower() == ".onnx":
        return onnx_macs(path, noise(1, predictor.image_size))
    import torch

    from panvision.model.checkpoint import load_checkpoint
    from panvision.model.flat import FlatModel

    model, _ = load_checkpoint(path)
    return torch_macs(FlatModel(model), torch.from_numpy(noise(1, predictor.image_size)))


def torch_macs(model: Any, *inputs: Any) -> int:
    """The same of a PyTorch module for some inputs, as PyTorch itself counts."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        model.eval()(*inputs)
    return counter.get_total_flops() // 2


def onnx_macs(path: Path, images: Images) -> int:
    """The same of an ONNX file, from the shapes that ONNX Runtime itself reports of one run (no onnx needed)."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # Nothing fused, or the operators would be the runtime's own.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.enable_profiling = True
    # Packed weights would be missing among a node's inputs.
    options.add_session_config_entry("session.disable_prepacking", "1")
    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = str(Path(folder) / "run")
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        session.run(None, {session.get_inputs()[0].name: images})
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    nodes = [event["args"] for event in events if event["name"].endswith("_kernel_time")]
    return sum(_node_macs(node) for node in nodes)


def _node_macs(node: Mapping[str, Any]) -> int:
    shapes = [next(iter(shape.values())) for shape in node["input_type_shape"]]
    outputs = int(np.prod(next(iter(node["output_type_shape"][0].values())), dtype=np.int64))
    match node["op_name"]:
        case "Conv":  # weights (out, in / groups, h, w)
            return outputs * int(np.prod(shapes[1][1:]))
        case "ConvTranspose":  # weights (in, out / groups, h, w)
            return int(np.prod(shapes[0])) * int(np.prod(shapes[1][1:]))
        case "Gemm" | "MatMul":
            return outputs * shapes[0][-1]
        case _:
            return 0


def limit_run(suffix: str, threads: int) -> Run:
    """One big float32 convolution (`LIMIT_MACS`) on the runtime that a file of this suffix runs on."""
    values = np.random.default_rng(0).standard_normal((1, LIMIT_CHANNELS, LIMIT_SIDE, LIMIT_SIDE)).astype(np.float32)
    weights = 0.02 * np.random.default_rng(1).standard_normal((LIMIT_CHANNELS, LIMIT_CHANNELS, 3, 3)).astype(np.float32)
    if suffix == ".onnx":
        import onnxruntime

        from panvision.inference.onnx_backend import session_options

        session = onnxruntime.InferenceSession(
            _convolution(weights, values.shape), session_options(threads), providers=["CPUExecutionProvider"]
        )
        return lambda: session.run(None, {"x": values})
    import torch

    x, w = torch.from_numpy(values), torch.from_numpy(weights)

    def run() -> object:
        with torch.inference_mode():
            return torch.nn.functional.conv2d(x, w, padding=1)

    return run


def peak_memory(path: Path, *, batch: int, threads: int) -> float | None:
    """Most memory in MB that a process of its own ever held that loads the model and runs it three times.

    Python and the runtime's libraries are in it, as they are on a device. None where the system does not tell.

    Raises:
        PredictorError: that process failed, as for want of memory.
    """
    command = [sys.executable, "-m", __name__, str(path), str(batch), str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise PredictorError(f"{path}: a process of its own cannot run it with a batch of {batch}: {reason}")
    return json.loads(done.stdout)


def _own_peak() -> float | None:
    """This process's most resident memory so far in MB. Linux's own count: getrusage's includes the parent's."""
    try:
        found = re.search(r"^VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text(), flags=re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) * 1024 / 1e6 if found else None


def _convolution(weights: npt.NDArray[np.float32], shape: Sequence[int]) -> bytes:
    """An ONNX file of one 3×3 convolution, written by hand: a device has no onnx package."""
    out = (shape[0], weights.shape[0], *shape[2:])
    padding = _field(1, b"pads") + b"".join(_number(8, 1) for _ in range(4)) + _number(20, 7)
    node = _field(1, b"x") + _field(1, b"w") + _field(2, b"y") + _field(4, b"Conv") + _field(5, padding)
    tensor = b"".join(_number(1, size) for size in weights.shape) + _number(2, 1) + _field(8, b"w")
    graph = _field(1, node) + _field(2, b"limit") + _field(5, tensor + _field(9, weights.tobytes()))
    graph += _field(11, _value(b"x", shape)) + _field(12, _value(b"y", out))
    return _number(1, 8) + _field(7, graph) + _field(8, _field(1, b"") + _number(2, 17))


def _value(name: bytes, shape: Sequence[int]) -> bytes:
    """ONNX's ValueInfoProto of a float32 tensor."""
    sizes = b"".join(_field(1, _number(1, size)) for size in shape)
    return _field(1, name) + _field(2, _field(1, _number(1, 1) + _field(2, sizes)))


def _field(number: int, payload: bytes) -> bytes:
    """Protocol Buffers: a length-delimited field."""
    return _varint(number << 3 | 2) + _varint(len(payload)) + payload


def _number(number: int, value: int) -> bytes:
    """Protocol Buffers: an integer field."""
    return _varint(number << 3) + _varint(value)


def _varint(value: int) -> bytes:
    parts = []
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


def _measure_memory(path: str, batch: str, threads: str) -> None:
    predictor = open_model(Path(path), int(threads))
    images = noise(int(batch), predictor.image_size)
    for _ in range(3):
        predictor.raw(images)
    print(json.dumps(_own_peak()))


if __name__ == "__main__":
    _measure_memory(*sys.argv[1:])
