"""An ONNX file in eight bits: static quantisation as QuantizeLinear and DequantizeLinear pairs, by ONNX Runtime.

Convolutions become INT8, and so do the operations between them that only pass values on: residual sums, ReLU, ReLU6,
max pooling, nearest upsampling. These stay in float: the cast and the normalisation of the input, GroupNorm, LayerNorm,
GELU and matrix products, transposed convolutions, for which ONNX Runtime has no INT8 code, convolutions in narrow
groups, for which it has only slow code, and the last layer before each output with all that follows it, because no
later layer could even out its rounding (leaving such layers out: Wu et al. 2020, Integer Quantization for Deep Learning
Inference).
Weights are rounded per output channel (`rounding`), and to seven bits: the sum of two products of eight-bit numbers
overflows in x86 processors without VNNI, and a file should answer alike everywhere.

The layers from or to maps of more than a quarter of the input's side also stay in float. There are few of them, with
few channels, so INT8 saves no time in them; converting such a map costs time, and its rounding reaches everything after
it (docs/results.md, "INT8").
"""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

import panvision.inference.onnx_backend  # noqa: F401 -- silences ONNX Runtime's telemetry before it is imported
from panvision.core.files import replacing
from panvision.export.errors import INT8_REMEDY, ExportError
from panvision.export.graph import finish
from panvision.export.rounding import round_kernels
from panvision.inference.backend import METADATA_KEY, ModelInfo

# Pictures per pass of the calibration, which keeps every layer's values in memory.
_BATCH = 2
_WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
# Clip is ReLU6.
_QUANTISED = ("Conv", "Add", "Relu", "Clip", "MaxPool", "Resize")
# Of the seven-bit weights.
_LARGEST_WEIGHT = 64
# Channels; depthwise convolutions have groups of one channel and fast code.
_NARROWEST_GROUP = 64
# Layers from or to a larger side, as a fraction of the input's, stay in float.
_LARGEST_SIDE = 1 / 4


def write_int8(path: str | Path, exported: str | Path, images: npt.NDArray[np.uint8]) -> None:
    """Write an exported model in INT8, whole or not at all; the same model and pictures give the same bytes.

    Args:
        path: where to.
        exported: the ONNX file that `write_onnx` made; its metadata are taken over.
        images: training pictures, (N, S, S, 3) uint8 RGB, N ≥ 1, on which the ranges of all values are measured.

    Raises:
        ExportError: ONNX Runtime's quantiser cannot do it.
        OSError: the file cannot be written.
    """
    try:
        proto = _quantise(Path(exported), images)
        _tidy(proto)
        finish(proto, onnx.load(exported, load_external_data=False).metadata_props)
        onnx.checker.check_model(proto, full_check=True)
    except OSError:
        raise
    except Exception as error:
        # The quantiser defines no exceptions; a model that it cannot convert raises any of Python's.
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ExportError(f"the model cannot be made INT8: {reason}; {INT8_REMEDY}") from error
    with replacing(path) as scratch:
        scratch.write_bytes(proto.SerializeToString(deterministic=True))


def replace_metadata(path: str | Path, info: ModelInfo) -> None:
    """Replace panvision's metadata in an ONNX file."""
    proto = onnx.load(path)
    for entry in proto.metadata_props:
        if entry.key == METADATA_KEY:
            entry.value = info.to_metadata()
    with replacing(path) as scratch:
        scratch.write_bytes(proto.SerializeToString(deterministic=True))


def _quantise(exported: Path, images: npt.NDArray[np.uint8]) -> onnx.ModelProto:
    """The file's graph with its QuantizeLinear and DequantizeLinear pairs."""
    # Imported here: the import takes a second, and an export without INT8 does not need it.
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as folder:
        prepared, quantised = Path(folder) / "prepared.onnx", Path(folder) / "int8.onnx"
        # Symbolic shapes are for transformers, and need another package.
        quant_pre_process(str(exported), str(prepared), skip_symbolic_shape=True)
        proto = onnx.load(prepared)
        # The quantiser knows nodes by their names, which may be missing or the same.
        for node in proto.graph.node:
            node.name = node.output[0]
        onnx.save(proto, prepared)
        quantize_static(
            str(prepared),
            str(quantised),
            _Calibration(proto.graph.input[0].name, images),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(_QUANTISED),
            nodes_to_quantize=quantised_nodes(proto.graph),
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        rounded = onnx.load(quantised)
        round_kernels(rounded, proto, images, batch=_BATCH, largest=_LARGEST_WEIGHT)
        return rounded


def _tidy(proto: onnx.ModelProto) -> None:
    """Remove the operator sets and shapes that ONNX Runtime adds and no node needs."""
    used = {node.domain for node in proto.graph.node}
    kept = [entry for entry in proto.opset_import if entry.domain in used]
    del proto.opset_import[:], proto.graph.value_info[:]
    proto.opset_import.extend(kept)


def quantised_nodes(graph: onnx.GraphProto) -> list[str]:
    """Return the names of the nodes that become INT8, in the graph's order.

    Args:
        graph: with the shapes of its tensors; the input is (N, S, S, 3).

    Raises:
        ValueError: there is none.
    """
    last, constants = _last_layers(graph), {tensor.name: tensor.dims for tensor in graph.initializer}
    large = _large_tensors(graph)
    names = [
        node.name
        for node in graph.node
        if node.op_type in _QUANTISED
        and node.name not in last
        and large.isdisjoint([*node.input, *node.output])
        # A sum with a constant belongs to a normalisation.
        and not (node.op_type == "Add" and constants.keys() & {*node.input})
        and not (node.op_type == "Conv" and _has_narrow_groups(node, constants[node.input[1]]))
    ]
    if not names:
        raise ValueError("no layer of it is known to the quantiser")
    return names


def _large_tensors(graph: onnx.GraphProto) -> set[str]:
    """Return the names of the maps (N, C, H, W) that are larger than _LARGEST_SIDE."""
    side = graph.input[0].type.tensor_type.shape.dim[1].dim_value
    shapes = {value.name: [each.dim_value for each in value.type.tensor_type.shape.dim] for value in graph.value_info}
    return {name for name, shape in shapes.items() if len(shape) == 4 and shape[2] > _LARGEST_SIDE * side}


def _has_narrow_groups(conv: onnx.NodeProto, shape: Sequence[int]) -> bool:
    """Return whether a convolution with weights of a shape has several groups that are neither wide nor depthwise."""
    groups = next((each.i for each in conv.attribute if each.name == "group"), 1)
    return groups > 1 and 1 < shape[1] < _NARROWEST_GROUP


def _last_layers(graph: onnx.GraphProto) -> set[str]:
    """Return the names of the last layers with weights before each output, and of all nodes behind them."""
    makers = {name: node for node in graph.node for name in node.output}
    seen: set[str] = set()
    ahead = [output.name for output in graph.output]
    while ahead:
        node = makers.get(ahead.pop())
        if node is None or node.name in seen:
            continue
        seen.add(node.name)
        if node.op_type not in _WEIGHTED:
            ahead.extend(node.input)
    return seen


class _Calibration:
    """The pictures as ONNX Runtime's calibration asks for them, batch by batch."""

    def __init__(self, name: str, images: npt.NDArray[np.uint8]) -> None:
        self._name = name
        self._batches: Iterator[npt.NDArray[np.uint8]] = (
            images[start : start + _BATCH] for start in range(0, len(images), _BATCH)
        )

    def get_next(self) -> dict[str, Any] | None:
        """The model's inputs for the next batch; None after the last."""
        batch = next(self._batches, None)
        return None if batch is None else {self._name: batch}
