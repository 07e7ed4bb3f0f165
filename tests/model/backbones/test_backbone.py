import copy
from typing import get_args

import pytest
import torch
import torchvision
from torch import nn

from panvision.model.backbones.backbone import LAYOUTS, Backbone
from panvision.model.settings import BackboneName

STRIDES = (4, 8, 16, 32)
NARROW, WIDE = (64, 128, 256, 512), (256, 512, 1024, 2048)
CHANNELS = {"resnet10": NARROW, "resnet18": NARROW, "resnet34": NARROW, "resnet50": WIDE, "resnet101": WIDE}


def backbone(name="resnet10"):
    torch.manual_seed(0)
    return Backbone(name)


def noise(count=2, side=64):
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(0))


def step(model):
    """One step of training on noise."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    features = model(noise())
    if parameters:
        sum(level.square().mean() for level in features).backward()
        torch.optim.SGD(parameters, lr=0.1, weight_decay=0.1).step()


def changed(model, action):
    """Names in the state dict whose values are not the same to the bit after an action."""
    before = copy.deepcopy(model.state_dict())
    action(model)
    return {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}


def batch_norm_names(model):
    return {
        f"{name}.{part}"
        for name, module in model.named_modules()
        if isinstance(module, nn.BatchNorm2d)
        for part in module.state_dict()
    }


def test_every_name_has_a_layout():
    assert set(LAYOUTS) == set(get_args(BackboneName)) == set(CHANNELS)


@pytest.mark.parametrize("name", sorted(CHANNELS))
def test_shapes(name):
    model = backbone(name).eval()
    assert model.channels == CHANNELS[name]
    with torch.inference_mode():
        shapes = [tuple(level.shape) for level in model(noise(1))]
    assert shapes == [
        (1, width, 64 // stride, 64 // stride) for width, stride in zip(CHANNELS[name], STRIDES, strict=True)
    ]


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_names_and_features_are_torchvisions(name):
    torch.manual_seed(1)
    peer = getattr(torchvision.models, name)().eval()
    own = backbone(name).eval()
    answer = own.load_state_dict(peer.state_dict(), strict=False)
    assert answer.missing_keys == [] and answer.unexpected_keys == ["fc.weight", "fc.bias"]
    peer.fc = nn.Identity()
    with torch.inference_mode():
        torch.testing.assert_close(own(noise())[-1].mean((2, 3)), peer(noise()))


def test_nothing_is_frozen_at_first():
    model = backbone().train()
    names = changed(model, step)
    assert names == set(model.state_dict())


def test_frozen_weights_stay_to_the_bit_in_training_mode():
    model = backbone()
    model.freeze(weights=True, batch_norm=False)
    model.train()
    assert changed(model, step) == set()
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(level.requires_grad for level in model(noise()))


def test_frozen_batch_norm_stays_to_the_bit_while_convolutions_train():
    model = backbone()
    model.freeze(weights=False, batch_norm=True)
    model.train()
    assert changed(model, step) == set(model.state_dict()) - batch_norm_names(model)


def test_frozen_batch_norm_normalises_with_its_statistics():
    model = backbone().eval()
    with torch.no_grad():
        expected = model(noise())
        model.freeze(weights=False, batch_norm=True)
        model.train()
        for got, wanted in zip(model(noise()), expected, strict=True):
            torch.testing.assert_close(got, wanted)


@pytest.mark.parametrize("batch_norm", [True, False])
def test_phase_two_thaws_what_phase_one_froze(batch_norm):
    model = backbone().train()
    model.freeze(weights=True, batch_norm=True)
    model.freeze(weights=False, batch_norm=batch_norm)
    frozen = batch_norm_names(model) if batch_norm else set()
    assert changed(model, step) == set(model.state_dict()) - frozen


def test_freezing_keeps_the_mode_and_survives_changes_of_it():
    model = backbone().train()
    model.freeze(weights=True, batch_norm=False)
    assert model.training and not model.bn1.training
    model.eval()
    assert not model.training
    nn.Sequential(model).train()
    assert model.training and not model.bn1.training and not model.layer4[0].bn2.training
    model.freeze(weights=False, batch_norm=False)
    assert model.bn1.training and model.layer4[0].bn2.training
