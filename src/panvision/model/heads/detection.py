"""Detection head: FCOS on the levels that `model.strides` names."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from panvision.model.heads.base import HeadInputs, HeadSpec, group_norm

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
        self, in_channels: int, channels: int, num_classes: int, *, strides: Sequence[int], num_convs: int
    ) -> None:
        super().__init__()
        self.levels = tuple(f"P{stride.bit_length() - 1}" for stride in strides)  # stride 8 → P3
        self.class_tower = _tower(in_channels, channels, num_convs)
        self.box_tower = _tower(in_channels, channels, num_convs)
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
        for scale, features in zip(self.scales, levels, strict=True):
            boxes = self.box_tower(features)
            output.class_logits.append(self.class_logits(self.class_tower(features)))
            output.ltrb.append(torch.exp((scale * self.ltrb(boxes)).clamp(max=MAX_LOG_DISTANCE)))
            output.centerness.append(self.centerness(boxes))
        return output


def _tower(in_channels: int, channels: int, num_convs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for place in range(num_convs):
        width = channels if place else in_channels
        layers += [
            nn.Conv2d(width, channels, kernel_size=3, padding=1, bias=False),
            group_norm(channels),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)


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
    )


def _flatten(output: DetectionOutput) -> tuple[Tensor, ...]:
    """Return class_logits (N, P, K), ltrb (N, P, 4) in strides and centerness (N, P) over the P locations."""
    return join_levels(output.class_logits), join_levels(output.ltrb), join_levels(output.centerness)[..., 0]


HEAD = HeadSpec(build=_build, flatten=_flatten, class_layer="class_logits")
