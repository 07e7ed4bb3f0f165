"""Properties of every row of the table, and for one backbone of each kind."""

import copy
import subprocess
import sys

import pytest
import torch
from torch import nn

from panvision.model.backbones import BACKBONES, make_backbone
from panvision.model.settings import ModelSettings
from tests.test_rooms import run_without

STRIDES = (4, 8, 16, 32)
CHANNELS = {
    "resnet10": (64, 128, 256, 512),
    "resnet18": (64, 128, 256, 512),
    "resnet34": (64, 128, 256, 512),
    "resnet50": (256, 512, 1024, 2048),
    "resnet101": (256, 512, 1024, 2048),
    "efficientnet_lite0": (24, 40, 112, 320),
    "efficientnet_lite1": (24, 40, 112, 320),
    "efficientnet_lite2": (24, 48, 120, 352),
    "mobilenet_v2": (24, 32, 96, 1280),
    "regnet_x_400mf": (32, 64, 160, 400),
    "regnet_x_800mf": (64, 128, 288, 672),
    "convnext_tiny": (96, 192, 384, 768),
}
KINDS = ("resnet10", "efficientnet_lite0", "regnet_x_400mf", "convnext_tiny")


def backbone(name):
    torch.manual_seed(0)
    return make_backbone(name)


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


def batch_norms(model):
    return {name: module for name, module in model.named_modules() if isinstance(module, nn.BatchNorm2d)}


def batch_norm_names(model):
    return {f"{name}.{part}" for name, module in batch_norms(model).items() for part in module.state_dict()}


@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.parametrize("side", [64, 96])
def test_features_have_their_strides_and_channels(name, side):
    model = backbone(name).eval()
    with torch.inference_mode():
        shapes = [tuple(level.shape) for level in model(noise(1, side))]
    wanted = zip(CHANNELS[name], STRIDES, strict=True)
    assert shapes == [(1, width, side // stride, side // stride) for width, stride in wanted]
    assert model.channels == CHANNELS[name]


@pytest.mark.parametrize("name", KINDS)
def test_same_seed_and_copy_give_the_same_backbone(name):
    first, second = backbone(name), backbone(name)
    assert changed(first, lambda model: model.load_state_dict(second.state_dict())) == set()
    assert torch.equal(copy.deepcopy(first)(noise())[-1], second(noise())[-1])


@pytest.mark.parametrize("name", KINDS)
def test_nothing_is_frozen_at_first(name):
    model = backbone(name).train()
    assert changed(model, step) == set(model.state_dict())


@pytest.mark.parametrize("name", KINDS)
def test_frozen_weights_stay_to_the_bit_in_training(name):
    model = backbone(name)
    model.freeze(weights=True, batch_norm=False)
    model.train()
    assert changed(model, step) == set()
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(level.requires_grad for level in model(noise()))


@pytest.mark.parametrize("name", KINDS)
def test_frozen_batch_norm_stays_while_the_rest_trains(name):
    model = backbone(name)
    model.freeze(weights=False, batch_norm=True)
    model.train()
    assert changed(model, step) == set(model.state_dict()) - batch_norm_names(model)


@pytest.mark.parametrize("name", KINDS)
def test_frozen_batch_norm_is_folded_and_computes_the_same(name):
    model = backbone(name).double()
    called = []
    for module in batch_norms(model).values():
        module.momentum = None  # statistics that differ from 0 and 1
        module.register_forward_hook(lambda *_: called.append(1))
    with torch.no_grad():
        model(noise(4).double())
        expected = model.eval()(noise().double())
        model.freeze(weights=False, batch_norm=True)
        model.train()
        called.clear()
        for got, wanted in zip(model(noise().double()), expected, strict=True):
            torch.testing.assert_close(got, wanted)
    assert called == []


@pytest.mark.parametrize("batch_norm", [True, False])
@pytest.mark.parametrize("name", KINDS)
def test_phase_two_thaws_what_phase_one_froze(name, batch_norm):
    model = backbone(name).train()
    model.freeze(weights=True, batch_norm=True)
    model.freeze(weights=False, batch_norm=batch_norm)
    frozen = batch_norm_names(model) if batch_norm else set()
    assert changed(model, step) == set(model.state_dict()) - frozen


@pytest.mark.parametrize("name", ["resnet10", "efficientnet_lite0", "regnet_x_400mf"])
def test_freezing_survives_changes_of_the_mode(name):
    model = backbone(name).train()
    norms = batch_norms(model).values()
    model.freeze(weights=True, batch_norm=False)
    assert model.training and not any(norm.training for norm in norms)
    model.eval()
    assert not model.training
    nn.Sequential(model).train()
    assert model.training and not any(norm.training for norm in norms)
    model.freeze(weights=False, batch_norm=False)
    assert all(norm.training for norm in norms)


@pytest.mark.parametrize("name", BACKBONES)
def test_nothing_random_happens_in_training(name):
    # Several processes would each draw other numbers; the heads' dropout is the only exception.
    model = backbone(name).train()
    model.freeze(weights=True, batch_norm=True)
    state = torch.get_rng_state()
    first = model(noise())
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(*levels) for levels in zip(first, model(noise()), strict=True))


def test_unknown_name_lists_the_table():
    with pytest.raises(ValueError, match=r"model\.backbone: no backbone 'resnet9'; set it to one of resnet10, "):
        make_backbone("resnet9")
    with pytest.raises(ValueError, match=r"'efficientnet_lite2'.* or 'convnext_tiny'"):
        ModelSettings(backbone="resnet9")


def test_settings_need_no_torch():
    done = run_without(("torch", "torchvision"), ["panvision.model.settings"])
    assert done.returncode == 0, done.stderr


def test_torchvision_is_imported_only_for_its_own():
    code = """
import sys
from panvision.model.backbones import make_backbone
for name in ("resnet10", "efficientnet_lite0", "mobilenet_v2"):
    make_backbone(name)
    print("torchvision" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["False", "False", "True"], done.stderr
