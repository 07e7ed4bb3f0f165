"""ResNets (He et al. 2016, https://arxiv.org/abs/1512.03385); parameters have torchvision's names.

They are written here because importing torchvision takes a second, and because frozen BatchNorm is folded.
"""

from collections.abc import Sequence

import torch.nn.functional as F  # noqa: N812 -- PyTorch's own convention
from torch import Tensor, nn

from panvision.model.backbones.base import Backbone, convolve


class ResNet(Backbone):
    """The convolutional part of a ResNet.

    Args:
        blocks: number of residual blocks in each of the four stages.
        bottleneck: blocks of three convolutions (ResNet-50 and larger) instead of two.
        width: channels of the first convolution; published weights have 64.
    """

    ignored = ("fc.",)

    def __init__(self, blocks: Sequence[int], *, bottleneck: bool = False, width: int = 64) -> None:
        super().__init__()
        block = Bottleneck if bottleneck else BasicBlock
        two, three, four, five = blocks
        self.channels = tuple(width * block.expansion * 2**stage for stage in range(4))
        self.conv1 = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = make_stage(block, width, width, two, stride=1)
        self.layer2 = make_stage(block, self.channels[0], 2 * width, three, stride=2)
        self.layer3 = make_stage(block, self.channels[1], 4 * width, four, stride=2)
        self.layer4 = make_stage(block, self.channels[2], 8 * width, five, stride=2)
        initialise(self)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(N, 3, S, S) normalised → [C2 (N, ·, S/4, S/4), C3 (S/8), C4 (S/16), C5 (S/32)]."""
        x = convolve(x, self.conv1, self.bn1)  # (N, width, S/2, S/2)
        # ReLU last: the same values and gradients as before the pooling, on a quarter of the values.
        x = F.relu(F.max_pool2d(x, kernel_size=3, stride=2, padding=1), inplace=True)  # (N, width, S/4, S/4)
        c2 = self.layer1(x)
        c3 = self.layer2(c2)
        c4 = self.layer3(c3)
        return [c2, c3, c4, self.layer4(c4)]


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

    The 3×3 convolution has the stride, as in torchvision ("ResNet v1.5").
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
    """Return the blocks of one stage, the first of which has the stride.

    Args:
        block: kind of block.
        in_channels: channels of the stage's input.
        channels: channels of the 3×3 convolutions; the output has `block.expansion` times as many.
        blocks: number of blocks.
        stride: 1 or 2.
    """
    widths = [in_channels] + [block.expansion * channels] * (blocks - 1)
    return nn.Sequential(*(block(width, channels, 1 if number else stride) for number, width in enumerate(widths)))


def initialise(network: nn.Module) -> None:
    """Draw random first weights like torchvision: He et al. 2015 by the outputs; BatchNorm keeps its 1 and 0."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def _downsample(in_channels: int, channels: int, stride: int) -> nn.Sequential | None:
    """Return the shortcut's projection, where its input does not have the output's shape."""
    if stride == 1 and in_channels == channels:
        return None
    conv = nn.Conv2d(in_channels, channels, 1, stride=stride, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels))


def _joined(out: Tensor, x: Tensor, downsample: nn.Sequential | None) -> Tensor:
    """ReLU of the sum of a block's convolutions and its shortcut; writes into `out`."""
    if downsample is not None:
        conv, norm = downsample
        x = convolve(x, conv, norm)  # type: ignore[arg-type]
    out += x
    return F.relu(out, inplace=True)
