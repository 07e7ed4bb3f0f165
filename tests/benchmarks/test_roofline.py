from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from benchmarks import roofline
from panvision.config import Config
from panvision.model.flat import FlatModel
from panvision.model.multitask import MultiTaskModel

ROOT = Path(__file__).parents[2]


def preset_gmac(name: str, **changes: int) -> float:
    """Count a preset's whole network on the meta device, which computes shapes without values."""
    config = Config.from_params(ROOT / f"presets/{name}.yaml")
    settings = config.model.model_copy(update=changes)
    side = config.data.image_size
    with torch.device("meta"):
        model = MultiTaskModel(settings, image_size=side, det_classes="abc", cls_classes="abcde")
        return roofline.torch_macs(FlatModel(model), torch.empty(1, side, side, 3, dtype=torch.uint8)) / 1e9


def test_presets_are_lean():
    assert Config.from_params(ROOT / "presets/resnet50.yaml").data.image_size == 256
    assert 9.7 < preset_gmac("resnet50") < 9.8  # the aim is 13.5 at most
    assert preset_gmac("resnet50", det_channels=256) > 14.0
    assert Config.from_params(ROOT / "presets/edge.yaml").data.image_size == 256
    assert preset_gmac("edge") < 1.7


@pytest.mark.parametrize(
    ("layer", "macs"),
    [
        (nn.Conv2d(4, 6, 3, padding=1), 6 * 4 * 9 * 64),
        (nn.Conv2d(4, 6, 3, padding=1, groups=2, bias=False), 6 * 2 * 9 * 64),
        (nn.Conv2d(4, 6, 1, stride=2), 6 * 4 * 16),
        (nn.ConvTranspose2d(4, 6, 2, stride=2), 4 * 6 * 4 * 64),
        (nn.Sequential(nn.Flatten(), nn.Linear(256, 5)), 256 * 5),
        (nn.ReLU(), 0),
    ],
)
def test_macs_of_single_layers_both_ways(tmp_path, layer, macs):
    x = torch.zeros(1, 4, 8, 8)
    assert roofline.torch_macs(layer, x) == macs
    torch.onnx.export(layer, (x,), tmp_path / "layer.onnx", dynamo=False)
    assert roofline.onnx_macs(tmp_path / "layer.onnx", x.numpy()) == macs
    assert [path.name for path in tmp_path.iterdir()] == ["layer.onnx"]


def test_both_limits_are_the_same_convolution():
    proto = roofline.convolution(np.ones((2, 3, 3, 3), np.float32), (1, 3, 4, 4))
    onnx.checker.check_model(proto, full_check=True)
    (result,) = onnxruntime.InferenceSession(proto.SerializeToString()).run(None, {"x": np.ones((1, 3, 4, 4), "f")})
    assert result.shape == (1, 2, 4, 4) and result[0, 1, 1, 1] == 27 and result[0, 0, 0, 0] == 12
    (fast,), peer = roofline.limit_run(".onnx", 1)(), roofline.limit_run(".pth", 1)()
    np.testing.assert_allclose(fast, peer.numpy(), atol=1e-3)
    layer = nn.Conv2d(roofline.LIMIT_CHANNELS, roofline.LIMIT_CHANNELS, 3, padding=1, device="meta")
    side = roofline.LIMIT_SIDE
    shown = torch.empty(1, roofline.LIMIT_CHANNELS, side, side, device="meta")
    assert roofline.torch_macs(layer, shown) == roofline.LIMIT_MACS
