import pytest
import torch
from torch import nn

from panvision.model.backbones import make_backbone
from panvision.model.backbones.resnet import BasicBlock, Bottleneck, initialise, make_stage

resnet = pytest.importorskip("torchvision.models.resnet")

PEERS = {BasicBlock: resnet.BasicBlock, Bottleneck: resnet.Bottleneck}


def peer_stage(block, stride):
    """torchvision's stage of two blocks, 24 channels in, 8 wide, with BatchNorm statistics that matter."""
    torch.manual_seed(0)
    out = 8 * block.expansion
    shortcut = nn.Sequential(resnet.conv1x1(24, out, stride), nn.BatchNorm2d(out))
    peer = nn.Sequential(PEERS[block](24, 8, stride, shortcut), PEERS[block](out, 8))
    for module in peer.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    return peer


def pair(block, stride, *, frozen=False):
    """torchvision's stage and ours with the same values."""
    peer = peer_stage(block, stride)
    own = make_stage(block, 24, 8, 2, stride=stride)
    own.load_state_dict(peer.state_dict())  # strict: the names are the same
    for stage in (peer, own):
        stage.eval()
        for module in stage.modules() if frozen else ():
            if isinstance(module, nn.BatchNorm2d):
                module.requires_grad_(False)
    return peer, own


def passed(stage):
    """Output and gradients of everything that has one, the input's among them."""
    x = torch.randn(2, 24, 8, 8, generator=torch.Generator().manual_seed(1)).requires_grad_()
    out = stage(x.clone())
    out.square().mean().backward()
    return {"out": out.detach(), "x": x.grad} | {
        name: parameter.grad for name, parameter in stage.named_parameters() if parameter.grad is not None
    }


@pytest.mark.parametrize("mode", ["train", "eval", "frozen"])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("block", PEERS)
def test_stage_computes_what_torchvisions_does(block, stride, mode):
    peer, own = pair(block, stride, frozen=mode == "frozen")
    if mode == "train":
        peer.train()
        own.train()
    theirs, ours = passed(peer), passed(own)
    assert ours.keys() == theirs.keys() and any("conv1" in name for name in ours)
    assert any("bn1" in name for name in ours) is (mode != "frozen")
    for name, value in theirs.items():
        torch.testing.assert_close(
            ours[name], value, rtol=1e-5, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}"
        )
    for name, value in peer.state_dict().items():
        torch.testing.assert_close(own.state_dict()[name], value, msg=name)


def test_initialise_draws_as_torchvision_does():
    stage = make_stage(BasicBlock, 64, 256, 1, stride=2)
    torch.manual_seed(0)
    initialise(stage)
    torch.manual_seed(0)
    wanted = nn.init.kaiming_normal_(torch.empty(256, 64, 3, 3), mode="fan_out", nonlinearity="relu")
    assert torch.equal(stage[0].conv1.weight, wanted)
    assert stage[0].bn1.weight.eq(1).all() and stage[0].bn1.bias.eq(0).all()


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_resnet_has_torchvisions_names_and_features(name):
    torch.manual_seed(1)
    peer, own = getattr(resnet, name)().eval(), make_backbone(name).eval()
    answer = own.load_state_dict(peer.state_dict(), strict=False)
    assert answer.missing_keys == [] and answer.unexpected_keys == ["fc.weight", "fc.bias"]
    peer.fc = nn.Identity()
    x = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(own(x)[-1].mean((2, 3)), peer(x))
