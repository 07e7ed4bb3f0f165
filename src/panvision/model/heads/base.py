"""The rows of the table of heads, and layers that heads share."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor, nn

from panvision.model.settings import HeadNorm, ModelSettings


class HeadInputs(NamedTuple):
    """Inputs that a head is built from.

    Attributes:
        settings: the network's shape.
        backbone_channels: channels of C2 to C5.
        num_classes: classes of the task's dataset, at least 1.
    """

    settings: ModelSettings
    backbone_channels: Sequence[int]
    num_classes: int


@dataclass(frozen=True)
class HeadSpec:
    """One row of the table of heads.

    Attributes:
        build: makes the head. Its attribute `levels` names the feature maps that `forward` takes, in order: "C2" to
            "C5" of the backbone, "P2" to "P5" of the FPN.
        flatten: turns the head's output into the raw outputs of a model file, in the order of `TaskSpec.outputs`, each
            (N, ...).
        class_layer: name of the head's layer that has one row of weights per class; empty if it has none.
        for_runtimes: returns a module that computes the same and that runtimes execute faster; None is the head itself.
    """

    build: Callable[[HeadInputs], nn.Module]
    flatten: Callable[[Any], tuple[Tensor, ...]]
    class_layer: str = ""
    for_runtimes: Callable[[Any], nn.Module] | None = None


def make_norm(kind: HeadNorm, channels: int) -> nn.Module:
    """Return the normalisation of a head's feature map, (N, C, h, w) → (N, C, h, w).

    Args:
        kind: `group` is GroupNorm (Wu & He 2018) with at most 32 groups, which small batches do not disturb; `batch` is
            BatchNorm (Ioffe & Szegedy 2015), which a runtime folds into the convolution before it.
        channels: C.
    """
    return nn.BatchNorm2d(channels) if kind == "batch" else nn.GroupNorm(math.gcd(32, channels), channels)
