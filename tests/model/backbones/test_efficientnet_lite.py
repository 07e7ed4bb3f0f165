from importlib import metadata

import pytest
import torch
from torch import nn

from panvision.model.backbones import BACKBONES, make_backbone
from panvision.model.backbones.efficientnet_lite import LAYOUTS, EfficientNetLite, InvertedResidual

NAMES = [f"efficientnet_{layout}" for layout in LAYOUTS]
CLASSIFIER = {"_conv_head", "_bn1", "_fc"}
# Parameters of the published networks (README of google's EfficientNet-Lite), in millions.
PARAMETERS = {"efficientnet_lite0": 4.7, "efficientnet_lite1": 5.4, "efficientnet_lite2": 6.1}


def published(name):
    """The state dict in the backbone's package."""
    (file,) = (file for file in metadata.files(BACKBONES[name].package) if file.suffix == ".pth")
    return torch.load(file.locate(), weights_only=True)


@pytest.mark.parametrize("name", NAMES)
def test_published_weights_have_the_same_names_and_shapes(name):
    state = published(name)
    answer = make_backbone(name).load_state_dict(state, strict=False)
    assert answer.missing_keys == [] and {key.split(".")[0] for key in answer.unexpected_keys} == CLASSIFIER
    learned = [key for key in state if not key.endswith(("running_mean", "running_var", "num_batches_tracked"))]
    assert sum(state[key].numel() for key in learned) / 1e6 == pytest.approx(PARAMETERS[name], abs=0.1)


@pytest.mark.parametrize("name", NAMES)
def test_published_statistics_are_those_of_the_features(name):
    # BatchNorm's stored means and variances describe the values that reach it, if strides, order, activations and the
    # input's range are those that the weights were trained with. A smooth random image is close enough to a photo.
    model = make_backbone(name)
    model.load_state_dict(published(name), strict=False)
    torch.manual_seed(0)
    coarse = torch.rand(8, 3, 7, 7)
    image = nn.functional.interpolate(coarse, size=(224, 224), mode="bicubic").clamp(0, 1)
    ratios, shifts = [], []

    def compare(norm, inputs, _output):
        variance, mean = torch.var_mean(inputs[0], (0, 2, 3))
        ratios.append(((variance + norm.eps) / (norm.running_var + norm.eps)).median().item())
        shifts.append(((mean - norm.running_mean).abs() * (norm.running_var + norm.eps).rsqrt()).median().item())

    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.register_forward_hook(compare)
    with torch.inference_mode():
        model.eval()((255 * image - 127) / 128)
    assert min(ratios) > 0.05 and max(ratios) < 2 and max(shifts) < 1  # found: 0.09 to 1.4, and 0.8


def test_block_equals_its_layers_one_after_the_other():
    torch.manual_seed(0)
    block = InvertedResidual(8, 8, 5, stride=1, expansion=6)
    layers = nn.Sequential(
        nn.Conv2d(8, 48, 1, bias=False),
        nn.BatchNorm2d(48, eps=1e-3, momentum=0.01),
        nn.ReLU6(),
        nn.Conv2d(48, 48, 5, padding=2, groups=48, bias=False),
        nn.BatchNorm2d(48, eps=1e-3, momentum=0.01),
        nn.ReLU6(),
        nn.Conv2d(48, 8, 1, bias=False),
        nn.BatchNorm2d(8, eps=1e-3, momentum=0.01),
    )
    layers.load_state_dict(dict(zip(layers.state_dict(), block.state_dict().values(), strict=True)))
    x = 9 * torch.randn(2, 8, 6, 6)
    torch.testing.assert_close(block(x), layers(x) + x)
    for name, buffer in zip(layers.state_dict(), block.state_dict().values(), strict=True):
        torch.testing.assert_close(layers.state_dict()[name], buffer)


@pytest.mark.parametrize(("channels", "stride"), [(16, 1), (8, 2)])
def test_block_without_equal_shapes_has_no_shortcut(channels, stride):
    block = InvertedResidual(8, channels, 3, stride=stride, expansion=1)
    nn.init.zeros_(block.get_parameter("_bn2.weight"))
    assert block(torch.randn(2, 8, 6, 6)).abs().max() == 0


def test_random_weights_keep_the_signal():
    # Phase 1 trains heads on frozen random features: they must neither vanish nor explode.
    torch.manual_seed(0)
    model = EfficientNetLite("lite0").eval()
    with torch.inference_mode():
        spreads = [level.std().item() for level in model(torch.randn(2, 3, 64, 64))]
    assert all(0.1 < spread < 50 for spread in spreads)
