"""Multiplications of a network, and the fastest that a runtime convolves on this machine."""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from torch.utils.flop_counter import FlopCounterMode

from panvision.cli.timing import Run
from panvision.inference.onnx_backend import session_options

# The limit: a 3×3 convolution of 256 channels at 64 × 64 locations, batch 1: the shape that kernels are tuned for.
LIMIT_CHANNELS, LIMIT_SIDE = 256, 64
LIMIT_MACS = LIMIT_CHANNELS**2 * 9 * LIMIT_SIDE**2


def torch_macs(model: Any, *inputs: Any) -> int:
    """Count the multiply-accumulates of a PyTorch module for some inputs, as PyTorch itself counts."""
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        model.eval()(*inputs)
    return counter.get_total_flops() // 2


def onnx_macs(path: Path, images: npt.NDArray[Any]) -> int:
    """Count the multiply-accumulates of an ONNX file from the shapes that ONNX Runtime reports of one run."""
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
    return sum(_node_macs(event["args"]) for event in events if event["name"].endswith("_kernel_time"))


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
    """Return one big float32 convolution (`LIMIT_MACS`) on the runtime that runs files of this suffix."""
    shape = (1, LIMIT_CHANNELS, LIMIT_SIDE, LIMIT_SIDE)
    values = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    weights = 0.02 * np.random.default_rng(1).standard_normal((LIMIT_CHANNELS, LIMIT_CHANNELS, 3, 3)).astype(np.float32)
    if suffix == ".onnx":
        session = onnxruntime.InferenceSession(
            convolution(weights, shape).SerializeToString(),
            session_options(threads),
            providers=["CPUExecutionProvider"],
        )
        return lambda: session.run(None, {"x": values})
    x, w = torch.from_numpy(values), torch.from_numpy(weights)

    def run() -> object:
        with torch.inference_mode():
            return torch.nn.functional.conv2d(x, w, padding=1)

    return run


def convolution(weights: npt.NDArray[np.float32], shape: tuple[int, ...]) -> onnx.ModelProto:
    """Return an ONNX model of one 3×3 convolution of `x` with padding 1."""
    x, y = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, size)
        for name, size in (("x", shape), ("y", (shape[0], weights.shape[0], *shape[2:])))
    )
    node = helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])
    graph = helper.make_graph([node], "limit", [x], [y], [numpy_helper.from_array(weights, "w")])
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
