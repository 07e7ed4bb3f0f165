"""EfficientNet-Lite (Liu 2020, https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite).

EfficientNet (Tan and Le 2019) without squeeze-and-excitation and with ReLU6, so that INT8 keeps its accuracy.
Parameters have the names of the published weights. Padding is symmetric, not TensorFlow's: cells of a feature map stay
centred on their pixels, which FCOS relies on.
"""

import math
from typing import NamedTuple

import torch.nn.functional as F  # noqa: N812 -- PyTorch's own convention
from torch import Tensor, nn

from panvision.model.backbones.base import Backbone, convolve

STEM = 32  # channels; all three sizes have the same
EXPANSION = 6  # of a block's inner channels; the first stage expands by 1
# Indices of the stages that end at stride 4, 8, 16 and 32.
TAPPED = (1, 2, 4, 6)


class Stage(NamedTuple):
    """Blocks of one stage; the first one has the stride."""

    kernel: int
    channels: int
    blocks: int
    stride: int


LAYOUTS: dict[str, tuple[Stage, ...]] = {
    "lite0": (
        Stage(3, 16, 1, 1),
        Stage(3, 24, 2, 2),
        Stage(5, 40, 2, 2),
        Stage(3, 80, 3, 2),
        Stage(5, 112, 3, 1),
        Stage(5, 192, 4, 2),
        Stage(3, 320, 1, 1),
    ),
    "lite1": (
        Stage(3, 16, 1, 1),
        Stage(3, 24, 3, 2),
        Stage(5, 40, 3, 2),
        Stage(3, 80, 4, 2),
        Stage(5, 112, 4, 1),
        Stage(5, 192, 5, 2),
        Stage(3, 320, 1, 1),
    ),
    "lite2": (
        Stage(3, 16, 1, 1),
        Stage(3, 24, 3, 2),
        Stage(5, 48, 3, 2),
        Stage(3, 88, 4, 2),
        Stage(5, 120, 4, 1),
        Stage(5, 208, 5, 2),
        Stage(3, 352, 1, 1),
    ),
}


class EfficientNetLite(Backbone):
    """The network up to its last block.

    Args:
        layout: key of LAYOUTS.
    """

    pixel_mean = (127.0, 127.0, 127.0)
    pixel_std = (128.0, 128.0, 128.0)
    ignored = ("_conv_head.", "_bn1.", "_fc.")

    def __init__(self, layout: str) -> None:
        super().__init__()
        stages = LAYOUTS[layout]
        self.channels = tuple(stages[number].channels for number in TAPPED)
        self._conv_stem = _conv(3, STEM, 3, stride=2)
        self._bn0 = _norm(STEM)
        self._blocks = nn.ModuleList()
        self._tapped: list[int] = []  # last block of each stage in TAPPED
        width = STEM
        for number, stage in enumerate(stages):
            for place in range(stage.blocks):
                stride, expansion = (1 if place else stage.stride), (EXPANSION if number else 1)
                self._blocks.append(
                    InvertedResidual(width, stage.channels, stage.kernel, stride=stride, expansion=expansion)
                )
                width = stage.channels
            if number in TAPPED:
                self._tapped.append(len(self._blocks) - 1)
        _initialise(self)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(N, 3, S, S) normalised → [C2 (N, 24, S/4, S/4), C3 (S/8), C4 (S/16), C5 (S/32)]."""
        x = F.relu6(convolve(x, self._conv_stem, self._bn0), inplace=True)  # (N, 32, S/2, S/2)
        features: list[Tensor] = []
        for number, block in enumerate(self._blocks):
            x = block(x)
            if number in self._tapped:
                features.append(x)
        return features


class InvertedResidual(nn.Module):
    """A 1×1 convolution to more channels, a depthwise one, and a 1×1 back; a shortcut where the shapes are equal.

    Args:
        in_channels: D.
        channels: E.
        kernel: side of the depthwise kernel.
        stride: of the depthwise convolution.
        expansion: inner channels as a multiple of D; with 1 there is no first convolution.
    """

    def __init__(self, in_channels: int, channels: int, kernel: int, *, stride: int, expansion: int) -> None:
        super().__init__()
        inner = expansion * in_channels
        self.expands = expansion != 1
        self.residual = stride == 1 and in_channels == channels
        if self.expands:
            self._expand_conv = _conv(in_channels, inner, 1)
            self._bn0 = _norm(inner)
        self._depthwise_conv = _conv(inner, inner, kernel, stride=stride, groups=inner)
        self._bn1 = _norm(inner)
        self._project_conv = _conv(inner, channels, 1)
        self._bn2 = _norm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(N, D, h, w) → (N, E, h / stride, w / stride)."""
        out = x
        if self.expands:
            out = F.relu6(convolve(out, self._expand_conv, self._bn0), inplace=True)
        out = F.relu6(convolve(out, self._depthwise_conv, self._bn1), inplace=True)
        out = convolve(out, self._project_conv, self._bn2)
        return out + x if self.residual else out


def _conv(in_channels: int, channels: int, kernel: int, *, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, channels, kernel, stride, padding=kernel // 2, groups=groups, bias=False)


def _norm(channels: int) -> nn.BatchNorm2d:
    # The constants that the published weights were trained with.
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


def _initialise(network: nn.Module) -> None:
    """Draw random first weights as EfficientNet does: He et al. 2015 by the outputs that each input reaches."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            # Not `kaiming_normal_`: it counts all outputs of a depthwise convolution, and the signal would vanish.
            outputs = module.kernel_size[0] * module.kernel_size[1] * module.out_channels // module.groups
            nn.init.normal_(module.weight, std=math.sqrt(2 / outputs))
