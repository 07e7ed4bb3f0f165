"""Detection head: FCOS on the levels that `model.strides` names."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from panvision.model.heads.base import HeadInputs, HeadSpec, make_norm
from panvision.model.settings import HeadNorm

# FCOS starts every class at this probability, because the many background locations would swamp the first steps
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


class DetectionHead(nn.Module):
    """FCOS head (Tian et al. 2020), shared by all levels: a class tower and a box tower.

    Centerness is read from the box tower, as the authors' later code and torchvision do.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        num_classes: int,
        *,
        strides: Sequence[int],
        num_convs: int,
        norm: HeadNorm = "group",
    ) -> None:
        super().__init__()
        self.levels = tuple(f"P{stride.bit_length() - 1}" for stride in strides)  # stride 8 → P3
        self.class_tower, self.box_tower = (
            Tower(in_channels, channels, num_convs, num_levels=len(strides), norm=norm) for _ in range(2)
        )
        channels = channels if num_convs else in_channels
        self.class_logits = nn.Conv2d(channels, num_classes, kernel_size=3, padding=1)
        self.ltrb = nn.Conv2d(channels, 4, kernel_size=3, padding=1)
        self.centerness = nn.Conv2d(channels, 1, kernel_size=3, padding=1)
        # One learned scale per level lets the shared box branch serve objects of every size.
        self.scales = nn.Parameter(torch.ones(len(strides)))
        prior = -math.log((1 - PRIOR_PROBABILITY) / PRIOR_PROBABILITY)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.01)
                if module.bias is not None:
                    nn.init.constant_(module.bias, prior if module is self.class_logits else 0.0)

    def forward(self, *levels: Tensor) -> DetectionOutput:
        """Return the raw outputs of each level, from (N, F, h, w) per level."""
        output = DetectionOutput([], [], [])
        for level, (scale, features) in enumerate(zip(self.scales, levels, strict=True)):
            boxes = self.box_tower(features, level)
            output.class_logits.append(self.class_logits(self.class_tower(features, level)))
            output.ltrb.append(torch.exp((scale * self.ltrb(boxes)).clamp(max=MAX_LOG_DISTANCE)))
            output.centerness.append(self.centerness(boxes))
        return output


class Tower(nn.ModuleList):
    """3×3 convolutions, each with a normalisation and a ReLU, shared by all levels.

    BatchNorm is not shared, because the statistics of the levels differ (as in the head of EfficientDet, Tan et al.
    2020).
    """

    def __init__(self, in_channels: int, channels: int, num_convs: int, *, num_levels: int, norm: HeadNorm) -> None:
        layers: list[nn.Module] = []
        for place in range(num_convs):
            width = channels if place else in_channels
            layers += [
                nn.Conv2d(width, channels, kernel_size=3, padding=1, bias=False),
                nn.ModuleList(make_norm(norm, channels) for _ in range(num_levels))
                if norm == "batch"
                else make_norm(norm, channels),
                nn.ReLU(inplace=True),
            ]
        super().__init__(layers)

    def forward(self, features: Tensor, level: int) -> Tensor:
        """Return (N, channels, h, w) from the features (N, in_channels, h, w) of a level; 0 is the finest."""
        for layer in self:
            features = (layer[level] if isinstance(layer, nn.ModuleList) else layer)(features)
        return features


def join_levels(levels: list[Tensor]) -> Tensor:
    """Join [(N, D, h, w) per level] to (N, P, D), level by level, row by row."""
    return torch.cat([level.flatten(2).transpose(1, 2) for level in levels], dim=1)


def _build(inputs: HeadInputs) -> DetectionHead:
    settings = inputs.settings
    return DetectionHead(
        settings.fpn_channels,
        settings.det_channels,
        inputs.num_classes,
        strides=settings.strides,
        num_convs=settings.head_convs,
        norm=settings.head_norm,
    )


def _flatten(output: DetectionOutput) -> tuple[Tensor, ...]:
    """Return class_logits (N, P, K), ltrb (N, P, 4) in strides and centerness (N, P) over the P locations."""
    return join_levels(output.class_logits), join_levels(output.ltrb), join_levels(output.centerness)[..., 0]


HEAD = HeadSpec(build=_build, flatten=_flatten, class_layer="class_logits")
