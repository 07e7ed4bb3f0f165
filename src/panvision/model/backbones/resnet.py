"""Residual blocks of ResNet (He et al. 2016, https://arxiv.org/abs/1512.03385), parameters named as torchvision's.

Its own, since importing torchvision takes seconds, and since frozen BatchNorm can become part of its convolution.
"""

import torch.nn.functional as F  # noqa: N812 -- PyTorch's own convention
from torch import Tensor, nn


def convolve(x: Tensor, conv: nn.Conv2d, norm: nn.BatchNorm2d) -> Tensor:
    """BatchNorm of a convolution's output, (N, D, h, w) → (N, E, h', w').

    Where BatchNorm is frozen, in evaluation mode and without gradients, it is an affine map per channel. Then it is
    multiplied into the convolution's weights: one pass over the output less in either direction, and its input need not
    be kept for the backward pass. The convolution's own weights get their gradient through the product.
    """
    if norm.training or norm.weight.requires_grad or norm.running_mean is None or norm.running_var is None:
        return norm(conv(x))
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()  # (E,)
    shift = norm.bias - norm.running_mean * scale
    weight = conv.weight * scale[:, None, None, None]
    return F.conv2d(x, weight, shift, stride=conv.stride, padding=conv.padding)


class BasicBlock(nn.Module):
    """Two 3×3 convolutions beside a shortcut (figure 2).

    Args:
        in_channels: D.
        channels: E.
        stride: of the first convolution.
    """

    expansion = 1

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = _downsample(in_channels, channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(N, D, h, w) → (N, E, h / stride, w / stride)."""
        out = F.relu(convolve(x, self.conv1, self.bn1), inplace=True)
        out = convolve(out, self.conv2, self.bn2)
        return _joined(out, x, self.downsample)


class Bottleneck(nn.Module):
    """A 1×1 convolution down, a 3×3, and a 1×1 up to four times as many channels, beside a shortcut (figure 5).

    The 3×3 convolution bears the stride, as in torchvision ("ResNet v1.5").
    """

    expansion = 4

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, self.expansion * channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(self.expansion * channels)
        self.downsample = _downsample(in_channels, self.expansion * channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(N, D, h, w) → (N, 4 · channels, h / stride, w / stride)."""
        out = F.relu(convolve(x, self.conv1, self.bn1), inplace=True)
        out = F.relu(convolve(out, self.conv2, self.bn2), inplace=True)
        out = convolve(out, self.conv3, self.bn3)
        return _joined(out, x, self.downsample)


Block = type[BasicBlock] | type[Bottleneck]


def make_stage(block: Block, in_channels: int, channels: int, blocks: int, *, stride: int) -> nn.Sequential:
    """The blocks of one stage, the first of which bears the stride.

    Args:
        block: its kind.
        in_channels: of the stage's input.
        channels: of the 3×3 convolutions; the output has `block.expansion` times as many.
        blocks: how many.
        stride: 1 or 2.
    """
    widths = [in_channels] + [block.expansion * channels] * (blocks - 1)
    return nn.Sequential(*(block(width, channels, 1 if number else stride) for number, width in enumerate(widths)))


def initialise(network: nn.Module) -> None:
    """Random first weights as torchvision has them: He et al. 2015 by the outputs; BatchNorm starts as it was made."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def _downsample(in_channels: int, channels: int, stride: int) -> nn.Sequential | None:
    """The shortcut's projection, where its input is not of the output's shape."""
    if stride == 1 and in_channels == channels:
        return None
    conv = nn.Conv2d(in_channels, channels, 1, stride=stride, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels))


def _joined(out: Tensor, x: Tensor, downsample: nn.Sequential | None) -> Tensor:
    """ReLU of a block's convolutions and its shortcut together; writes into `out`."""
    if downsample is not None:
        conv, norm = downsample
        x = convolve(x, conv, norm)  # type: ignore[arg-type]
    out += x
    return F.relu(out, inplace=True)
