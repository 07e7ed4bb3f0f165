"""Rounding of the kernels of an INT8 file: the error of each weight is made up for by those that are rounded after it.

Rounding to the nearest step minimises the error of each weight; what counts is the error of each layer's output on real
values. The method is GPTQ (Frantar et al. 2023, GPTQ: Accurate Post-Training Quantization for Generative Pre-trained
Transformers), with the moments of the layer's inputs in the float model, applied to convolutions.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import torch
from onnx import numpy_helper

# Positions of all pictures together from which the moments of a layer are estimated.
_POSITIONS = 8192
# Added to the moments' diagonal, as a fraction of its mean; without it, they may have no inverse.
_DAMPING = 0.01
# Weights of an output channel that are rounded before the ones behind them are changed.
_BLOCK = 128
# Weights that make up for each other; more of them, as of 3 × 3 kernels of many channels, are divided equally.
_MOST = 1152


def round_kernels(
    quantised: onnx.ModelProto, floats: onnx.ModelProto, images: npt.NDArray[np.uint8], *, batch: int, largest: int
) -> None:
    """Round the kernels of all INT8 convolutions again, in place.

    Args:
        quantised: the INT8 graph, with QuantizeLinear and DequantizeLinear pairs.
        floats: the graph that it was made from, with the same names of nodes.
        images: training pictures, (N, S, S, 3) uint8 RGB.
        batch: pictures per pass.
        largest: of the rounded weights, absolute.
    """
    tensors = {tensor.name: tensor for tensor in quantised.graph.initializer}
    makers = {name: node for node in quantised.graph.node for name in node.output}
    layers = {node.name: node for node in floats.graph.node if node.op_type == "Conv"}
    # The kernel of a head is shared by its layers on all levels.
    sharing: dict[str, list[onnx.NodeProto]] = {}
    steps: dict[str, str] = {}
    for node in quantised.graph.node:
        kernel = makers.get(node.input[1]) if node.op_type == "Conv" else None
        if kernel is not None and kernel.op_type == "DequantizeLinear":
            sharing.setdefault(kernel.input[0], []).append(layers[node.name])
            steps[kernel.input[0]] = kernel.input[1]
    if not sharing:
        return
    constants = {tensor.name: tensor for tensor in floats.graph.initializer}
    with _one_thread():
        moments = _moments(floats, sharing, images, batch)
        for name, nodes in sharing.items():
            kernel = numpy_helper.to_array(constants[nodes[0].input[1]])
            step = numpy_helper.to_array(tensors[steps[name]])
            values = _rounded_kernel(kernel, np.broadcast_to(step, len(kernel)), moments[name], largest)
            tensors[name].CopyFrom(numpy_helper.from_array(values, name))


def _rounded_kernel(
    kernel: npt.NDArray[np.float32], step: npt.NDArray[np.float32], moments: torch.Tensor, largest: int
) -> npt.NDArray[np.int8]:
    """Round a kernel (O, I, H, W) with a step for each of its outputs."""
    parts, size = moments.shape[:2]
    shared = kernel[0].size // size  # parts of a group
    weights = torch.from_numpy(kernel.astype(np.float64)).reshape(parts // shared, -1, shared, size).transpose(1, 2)
    steps = torch.from_numpy(step.astype(np.float64)).reshape(parts // shared, 1, -1).expand(weights.shape[:3])
    rounded = rounded_weights(weights.flatten(0, 1), steps.flatten(0, 1), moments, largest)
    return rounded.reshape(weights.shape).transpose(1, 2).reshape(kernel.shape).numpy().astype(np.int8)


def rounded_weights(weights: torch.Tensor, step: torch.Tensor, moments: torch.Tensor, largest: int) -> torch.Tensor:
    """Round weights to multiples of their steps so that the outputs change little.

    Args:
        weights: (G, O, K) float64, of G groups of O output channels.
        step: (G, O) float64.
        moments: (G, K, K) float64, Σ x xᵀ over the inputs x of a group.
        largest: absolute value of a multiple.

    Returns:
        The multiples, (G, O, K) float64.
    """
    importance = moments.diagonal(dim1=1, dim2=2)
    order = importance.argsort(dim=1, descending=True, stable=True)
    rows = order[:, :, None].expand_as(moments)
    damped = moments + torch.diag_embed((_DAMPING * importance.mean(1, keepdim=True) + 1e-12).expand_as(importance))
    damped = damped.gather(1, rows).gather(2, rows.mT)
    inverse = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(damped)), upper=True)
    left = weights.gather(2, order[:, None].expand_as(weights))
    rounded = torch.empty_like(left)
    for start in range(0, left.shape[2], _BLOCK):
        stop = min(start + _BLOCK, left.shape[2])
        errors = torch.empty_like(left[..., start:stop])
        for column in range(start, stop):
            value, own = left[..., column], inverse[:, column, column:stop]
            rounded[..., column] = (value / step).round().clamp(-largest, largest)
            errors[..., column - start] = (value - rounded[..., column] * step) / own[:, :1]
            left[..., column:stop] -= errors[..., column - start, None] * own[:, None]
        left[..., stop:] -= errors @ inverse[:, start:stop, stop:]
    return torch.empty_like(rounded).scatter(2, order[:, None].expand_as(rounded), rounded)


def _moments(
    floats: onnx.ModelProto, sharing: dict[str, list[onnx.NodeProto]], images: npt.NDArray[np.uint8], batch: int
) -> dict[str, torch.Tensor]:
    """Return Σ x xᵀ over the inputs x of each kernel, (G, K, K) float64."""
    model = onnx.ModelProto()
    model.CopyFrom(floats)
    wanted = sorted({node.input[0] for nodes in sharing.values() for node in nodes})
    outputs = {output.name for output in model.graph.output}
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted if name not in outputs)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found: dict[str, torch.Tensor] = {}
    random = torch.Generator().manual_seed(0)
    for start in range(0, len(images), batch):
        part = images[start : start + batch]
        values = dict(zip(wanted, session.run(wanted, {session.get_inputs()[0].name: part}), strict=True))
        for name, nodes in sharing.items():
            for inputs in _inputs(nodes, values, -(-_POSITIONS // len(images)), random):
                moments = (inputs @ inputs.mT).double()
                found[name] = found[name] + moments if name in found else moments
    return found


def _inputs(
    nodes: Iterable[onnx.NodeProto],
    values: dict[str, npt.NDArray[np.float32]],
    positions: int,
    random: torch.Generator,
) -> Iterator[torch.Tensor]:
    """Yield what each convolution multiplies with its kernel, (G, K, L) with at most `positions` of each image."""
    for node in nodes:
        settings = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
        top, left, bottom, right = settings.get("pads", (0, 0, 0, 0))
        image = torch.nn.functional.pad(torch.from_numpy(values[node.input[0]]), (left, right, top, bottom))
        columns = torch.nn.functional.unfold(
            image,
            settings["kernel_shape"],
            dilation=settings.get("dilations", 1),
            stride=settings.get("strides", 1),
        )
        # Every n-th position may be in the same few columns of the map, such as the left edge.
        drawn = torch.randperm(columns.shape[2], generator=random)[:positions]
        columns = columns[..., drawn].unflatten(1, (settings.get("group", 1), -1))
        weights = columns.shape[2]
        parts = next(number for number in range(-(-weights // _MOST), weights + 1) if weights % number == 0)
        yield columns.reshape(len(columns), -1, weights // parts, columns.shape[3]).permute(1, 2, 0, 3).flatten(2)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let torch use one thread: sums in another order round differently."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
