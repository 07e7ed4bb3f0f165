import pytest
import torch
from torch import nn

from panvision.model.backbones.base import convolve

CONVOLUTIONS = {
    "plain": {"kernel_size": 1, "bias": False},
    "biased": {"kernel_size": 3, "padding": 1},
    "grouped": {"kernel_size": 3, "padding": 2, "stride": 2, "dilation": 2, "groups": 2, "bias": False},
}


def pair(options):
    """A convolution and its BatchNorm, whose values all matter."""
    torch.manual_seed(0)
    conv, norm = nn.Conv2d(4, 6, **options), nn.BatchNorm2d(6, eps=1e-3)
    for value, spread in ((norm.weight, 1.0), (norm.bias, 1.0), (norm.running_mean, 1.0)):
        nn.init.normal_(value, std=spread)
    norm.running_var.uniform_(0.5, 2.0)
    return conv, norm.eval()


@pytest.mark.parametrize("options", CONVOLUTIONS.values(), ids=CONVOLUTIONS)
def test_convolve_frozen_equals_both_layers(options):
    conv, norm = pair(options)
    x = torch.randn(2, 4, 8, 8).requires_grad_()
    found = {}
    for kind in ("apart", "folded"):
        norm.requires_grad_(kind == "apart")
        x.grad = conv.weight.grad = None
        out = convolve(x, conv, norm)
        out.square().mean().backward()
        found[kind] = [out.detach(), x.grad, conv.weight.grad]
    for apart, folded in zip(*found.values(), strict=True):
        torch.testing.assert_close(folded, apart)


def test_convolve_folds_only_frozen_batch_norm():
    conv, norm = pair({"kernel_size": 1, "bias": False})
    calls = []
    norm.register_forward_hook(lambda *_: calls.append(1))
    x = torch.randn(2, 4, 4, 4)
    convolve(x, conv, norm.train())
    convolve(x, conv, norm.eval())
    assert len(calls) == 2
    convolve(x, conv, norm.requires_grad_(False))
    assert len(calls) == 2
    convolve(x, conv, norm.train())  # statistics that still change
    assert len(calls) == 3
