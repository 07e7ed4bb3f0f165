"""The three heads: mask from P2, boxes from the detection levels (FCOS), state from C5."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

# FCOS starts every class at this probability, so that the many background points do not swamp the first steps
# (Lin et al. 2017, section 4.1).
PRIOR_PROBABILITY = 0.01
# e^8 strides is far beyond any image and still finite in float16.
MAX_LOG_DISTANCE = 8.0


class DetectionOutput(NamedTuple):
    """Raw detection outputs, one tensor per level in the order of `strides`.

    Attributes:
        class_logits: (N, K, h, w) each.
        ltrb: (N, 4, h, w) each, positive distances from a cell's centre to the box's left, top, right and bottom
            edge in units of the level's stride.
        centerness: (N, 1, h, w) logits each.
    """

    class_logits: list[Tensor]
    ltrb: list[Tensor]
    centerness: list[Tensor]


def group_norm(channels: int) -> nn.GroupNorm:
    """GroupNorm (Wu & He 2018) with at most 32 groups; small batches do not disturb it."""
    return nn.GroupNorm(math.gcd(32, channels), channels)


class SegmentationHead(nn.Module):
    """P2 (N, F, S/4, S/4) → mask logits (N, 1, S, S): two transposed convolutions and a 1×1 classifier.

    2×2 kernels at stride 2 do not overlap: no checkerboard, and a quarter of the work of 4×4 kernels.
    """

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        half = max(channels // 2, 8)
        self.layers = nn.Sequential(
            nn.ConvTranspose2d(in_channels, channels, kernel_size=2, stride=2, bias=False),
            group_norm(channels),
            nn.ReLU(inplace=True),
            nn.ConvTranspose2d(channels, half, kernel_size=2, stride=2, bias=False),
            group_norm(half),
            nn.ReLU(inplace=True),
            nn.Conv2d(half, 1, kernel_size=1),
        )

    def forward(self, p2: Tensor) -> Tensor:
        """Mask logits (N, 1, S, S)."""
        return self.layers(p2)


class DetectionHead(nn.Module):
    """FCOS head (Tian et al. 2020), shared by all levels: a class tower and a box tower.

    Centerness is read from the box tower, as the authors' later code and torchvision do.
    """

    def __init__(self, channels: int, num_classes: int, *, num_levels: int, num_convs: int) -> None:
        super().__init__()
        self.class_tower = _tower(channels, num_convs)
        self.box_tower = _tower(channels, num_convs)
        self.class_logits = nn.Conv2d(channels, num_classes, kernel_size=3, padding=1)
        self.ltrb = nn.Conv2d(channels, 4, kernel_size=3, padding=1)
        self.centerness = nn.Conv2d(channels, 1, kernel_size=3, padding=1)
        # One learned scale per level lets the shared box branch serve objects of every size.
        self.scales = nn.Parameter(torch.ones(num_levels))
        prior = -math.log((1 - PRIOR_PROBABILITY) / PRIOR_PROBABILITY)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.01)
                if module.bias is not None:
                    nn.init.constant_(module.bias, prior if module is self.class_logits else 0.0)

    def forward(self, levels: Sequence[Tensor]) -> DetectionOutput:
        """[(N, F, h, w) per level] → raw outputs per level."""
        output = DetectionOutput([], [], [])
        for scale, features in zip(self.scales, levels, strict=True):
            boxes = self.box_tower(features)
            output.class_logits.append(self.class_logits(self.class_tower(features)))
            output.ltrb.append(torch.exp((scale * self.ltrb(boxes)).clamp(max=MAX_LOG_DISTANCE)))
            output.centerness.append(self.centerness(boxes))
        return output


class ClassificationHead(nn.Module):
    """C5 (N, D, ·, ·) → state logits (N, C): global average pool and two fully connected layers."""

    def __init__(self, in_channels: int, num_classes: int, *, hidden: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(in_channels, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden, num_classes),
        )

    def forward(self, c5: Tensor) -> Tensor:
        """State logits (N, C)."""
        # mean(), not AdaptiveAvgPool2d: the latter's backward pass is not deterministic on CUDA.
        return self.layers(c5.mean((2, 3)))


def _tower(channels: int, num_convs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(num_convs):
        layers += [
            nn.Conv2d(channels, channels, kernel_size=3, padding=1, bias=False),
            group_norm(channels),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)
