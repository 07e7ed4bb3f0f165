import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from panvision.export.errors import ExportError
from panvision.inference.predictor import Predictor

onnx = pytest.importorskip("onnx")

from panvision.export.int8 import quantised_nodes, write_int8  # noqa: E402 -- needs it

pytestmark = pytest.mark.xdist_group("export")  # which share an export, seconds of work for each worker

WRITE = """
import sys
import numpy as np
from panvision.export.int8 import write_int8
write_int8(sys.argv[1], sys.argv[2], np.load(sys.argv[3]))
"""


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (9, 64, 64, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def rounded(exported, images, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("rounded") / "panvision.int8.onnx"
    write_int8(path, exported, images)
    return path


def test_write_int8_one_small_valid_file(rounded, exported) -> None:
    assert [path.name for path in rounded.parent.iterdir()] == ["panvision.int8.onnx"]
    onnx.checker.check_model(str(rounded), full_check=True)
    proto = onnx.load(rounded)
    assert [(entry.domain, entry.version) for entry in proto.opset_import] == [("", 18)]
    assert [entry.key for entry in proto.metadata_props] == ["panvision"]
    assert Predictor.load(rounded).info == Predictor.load(exported).info
    assert rounded.stat().st_size < exported.stat().st_size / 3
    assert proto.graph.input == onnx.load(exported).graph.input


def test_write_int8_outputs_are_near_float(rounded, exported, images) -> None:
    found, expected = (Predictor.load(path).raw(images) for path in (rounded, exported))
    for name, output in found.items():
        assert 0.0 < np.abs(output - expected[name]).max() < 0.25 * np.ptp(expected[name]), name


def test_write_int8_chosen_layers(rounded) -> None:
    graph = onnx.load(rounded).graph
    makers = {name: node for node in graph.node for name in node.output}
    weights = {tensor.name: tensor for tensor in graph.initializer}

    def is_rounded(node) -> bool:
        return all(name in makers and makers[name].op_type == "DequantizeLinear" for name in node.input[:2])

    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    floats = {node.input[1] for node in convolutions if not is_rounded(node)}
    layers = ("detection.class_logits", "detection.ltrb", "detection.centerness", "segmentation.", "backbone.conv1")
    assert all(any(layer in name for layer in layers) for name in floats) and len(floats) >= 3
    assert len([node for node in convolutions if is_rounded(node)]) > 20
    for kind in ("Gemm", "ConvTranspose", "InstanceNormalization"):
        assert not [node for node in graph.node if node.op_type == kind and is_rounded(node)]
    scales = [node.input[1] for node in graph.node if node.op_type == "DequantizeLinear" and node.input[0] in weights]
    kernels = [tensor for tensor in weights.values() if tensor.name.endswith("_quantized") and len(tensor.dims) == 4]
    assert {len(weights[name].dims) for name in scales} <= {0, 1} and len(kernels) > 10
    for kernel in kernels:
        values = onnx.numpy_helper.to_array(kernel)
        assert values.dtype == np.int8 and np.abs(values.astype(int)).max() <= 64  # seven bits
        assert weights[kernel.name.removesuffix("quantized") + "scale"].dims == [len(values)]  # per channel


def test_write_onnx_casts_the_input_first(exported, rounded) -> None:
    for path in (exported, rounded):
        assert {node.op_type for node in onnx.load(path).graph.node if "images" in node.input} == {"Cast"}


def test_write_onnx_same_bytes_in_another_process(rounded, exported, images, tmp_path) -> None:
    np.save(tmp_path / "images.npy", images)
    env = {**os.environ, "PYTHONHASHSEED": "17", "OMP_NUM_THREADS": "2", "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", WRITE, tmp_path / "a.onnx", exported, tmp_path / "images.npy"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
    assert (tmp_path / "a.onnx").read_bytes() == rounded.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.onnx", "images.npy"]  # nothing temporary is left
    for text in (tmp_path.name, "uuid", "quant.pre_process", "augmented"):
        assert text.encode() not in rounded.read_bytes()


def test_write_int8_without_a_known_layer(tmp_path, images) -> None:
    from tests.tiny import write_onnx

    with pytest.raises(ExportError, match=r"cannot be made INT8: ValueError: no layer .*; set export\.int8: false"):
        write_int8(tmp_path / "a.onnx", write_onnx(tmp_path / "m.onnx"), images)
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


def test_quantised_nodes() -> None:
    node, info = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    nodes = [
        node("Conv", ["x", "w"], ["stem"], "large"),
        node("Conv", ["stem", "w"], ["a"], "from large"),
        node("Add", ["a", "c"], ["b"], "norm"),
        node("Add", ["b", "a"], ["d"], "residual"),
        node("Conv", ["d", "w"], ["k"], "inner"),
        node("Conv", ["k", "depthwise"], ["l"], "depthwise", group=8),
        node("Conv", ["l", "grouped"], ["m"], "in groups", group=2),
        node("Conv", ["m", "w"], ["e"], "one"),
        node("Conv", ["k", "w"], ["f"], "other"),
        node("Exp", ["e"], ["g"], "exp"),
        node("Concat", ["g", "f"], ["y"], "joined", axis=1),
    ]
    widths = {"w": 8, "c": 8, "depthwise": 1, "grouped": 4}
    constants = [
        onnx.helper.make_tensor(name, onnx.TensorProto.FLOAT, (8, width, 1, 1), np.zeros(8 * width))
        for name, width in widths.items()
    ]
    x, y = (info(name, onnx.TensorProto.FLOAT, shape) for name, shape in (("x", ("N", 64, 64, 3)), ("y", None)))
    sides = {"stem": 32, "a": 16, "d": 16, "k": 16, "l": 16, "m": 16}
    shapes = [info(name, onnx.TensorProto.FLOAT, ("N", 8, side, side)) for name, side in sides.items()]
    graph = onnx.helper.make_graph(nodes, "g", [x], [y], constants, value_info=shapes)
    assert quantised_nodes(graph) == ["residual", "inner", "depthwise"]
