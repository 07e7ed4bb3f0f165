"""Every backbone leaves as ONNX and as INT8 and answers the same."""

from collections import Counter

import numpy as np
import pytest

pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

from torch import nn  # noqa: E402

from panvision.export.int8 import write_int8  # noqa: E402
from panvision.export.onnx_file import write_onnx  # noqa: E402
from panvision.inference.predictor import Predictor  # noqa: E402
from panvision.model.backbones import BACKBONES  # noqa: E402
from panvision.model.checkpoint import load_checkpoint, save_checkpoint  # noqa: E402
from tests.model.small import pictures, small_model  # noqa: E402

TASKS = ("segmentation", "classification")  # of which one reads the finest level and one the coarsest


def model_of(name, levels):
    """A model of random weights; depthwise ones large enough that the deep features of MobileNetV2 do not vanish."""
    model = small_model(tasks=TASKS, backbone=name, cls_levels=levels)
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.groups == module.out_channels > 1:
            nn.init.kaiming_normal_(module.weight)
    return model


@pytest.mark.parametrize(("name", "levels"), [*((name, (5,)) for name in BACKBONES), ("efficientnet_lite0", (4, 5))])
def test_backbone_as_onnx_and_int8(name, levels, tmp_path):
    checkpoint, exported, rounded = (tmp_path / file for file in ("model.pth", "model.onnx", "model.int8.onnx"))
    save_checkpoint(checkpoint, model_of(name, levels))
    reference = Predictor.load(checkpoint, "cpu")
    images = pictures(4).permute(0, 2, 3, 1).contiguous().numpy()
    write_onnx(exported, load_checkpoint(checkpoint)[0], reference.info, opset=18)
    write_int8(rounded, exported, images)
    trained, plain, small = (
        predictor.raw(images) for predictor in (reference, *map(Predictor.load, (exported, rounded)))
    )
    for output in ("mask_logits", "state_logits"):
        wanted, found, near = (outputs[output] for outputs in (trained, plain, small))
        spread = np.ptp(wanted)
        assert spread > 0.1, output
        assert np.abs(found - wanted).max() < 1e-4 * spread, output
        assert 0 < np.abs(near - wanted).max() < 0.6 * spread, output
        assert np.corrcoef(near.ravel(), wanted.ravel())[0, 1] > 0.85, output
    assert not operations(exported)["BatchNormalization"]
    # Layers from or to large maps, convolutions in narrow groups, and the last convolution of the mask are in float.
    # Elsewhere ReLU6 has become part of the rounding before it.
    graph = onnx.shape_inference.infer_shapes(onnx.load(rounded)).graph
    side = {value.name: value.type.tensor_type.shape.dim[-1].dim_value for value in graph.value_info}
    makers = {output: node.op_type for node in graph.node for output in node.output}
    weights = {tensor.name: tensor.dims for tensor in graph.initializer}
    in_float = {
        node.output[0]: (max(side[node.input[0]], side[node.output[0]]), weights[node.input[1]])
        for node in graph.node
        if node.op_type == "Conv" and [makers.get(value) for value in node.input[:2]] != ["DequantizeLinear"] * 2
    }
    assert all(node.input[0] in in_float for node in graph.node if node.op_type == "Clip")
    grouped = {node.output[0]: groups(node) for node in graph.node if node.op_type == "Conv"}
    narrow = {name for name, (_, shape) in in_float.items() if grouped[name] > 1 and 1 < shape[1] < 64}
    small = {name for name, (largest, _) in in_float.items() if largest <= reference.image_size / 4}
    assert len(small - narrow) == 1 and narrow & small


def groups(conv):
    return next((each.i for each in conv.attribute if each.name == "group"), 1)


def operations(path):
    """Count a file's nodes by kind."""
    return Counter(node.op_type for node in onnx.load(path).graph.node)
