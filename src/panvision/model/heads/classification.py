"""Classification head: the levels that `model.cls_levels` names to one logit per class."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from panvision.model.heads.base import HeadInputs, HeadSpec


class ClassificationHead(nn.Module):
    """Feature maps (N, D, ·, ·) → class logits (N, C): global average pools, joined, and two fully connected layers.

    The thousands of pooled values are all positive and similar in all images. A step of Adam changes each weight of a
    hidden unit by about the learning rate, mostly with one sign, so the unit's sum changes by a multiple of itself.
    Without LayerNorm (Ba et al. 2016), ReLU soon turns most units off for every image, and learning stops.
    """

    def __init__(
        self, in_channels: int, num_classes: int, *, hidden: int, dropout: float, levels: Sequence[str] = ("C5",)
    ) -> None:
        super().__init__()
        self.levels = tuple(levels)
        self.layers = nn.Sequential(
            nn.Linear(in_channels, hidden, bias=False),
            nn.LayerNorm(hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden, num_classes),
        )

    def forward(self, *maps: Tensor) -> Tensor:
        """Return class logits (N, C), from one map per level."""
        # mean(), not AdaptiveAvgPool2d: the latter's backward pass is not deterministic on CUDA.
        pooled = [features.mean((2, 3)) for features in maps]  # (N, D) each
        return self.layers(pooled[0] if len(pooled) == 1 else torch.cat(pooled, dim=1))


def _build(inputs: HeadInputs) -> ClassificationHead:
    settings = inputs.settings
    return ClassificationHead(
        sum(inputs.backbone_channels[level - 2] for level in settings.cls_levels),
        inputs.num_classes,
        hidden=settings.cls_hidden,
        dropout=settings.dropout,
        levels=[f"C{level}" for level in settings.cls_levels],
    )


def _flatten(logits: Tensor) -> tuple[Tensor, ...]:
    """(N, C) → state_logits (N, C)."""
    return (logits,)


HEAD = HeadSpec(build=_build, flatten=_flatten, class_layer="layers.4")
