"""Feature pyramid network (Lin et al. 2017) that computes only the levels asked for."""

from collections.abc import Collection, Sequence

import torch.nn.functional as F  # noqa: N812 -- PyTorch's own convention
from torch import Tensor, nn

LEVELS = (2, 3, 4, 5)


class FeaturePyramid(nn.Module):
    """C2..C5 → P2..P5: 1×1 lateral convolutions, nearest upsampling top-down, one 3×3 convolution per level.

    P2's is depthwise: a full one would be the dearest layer of the whole network (at 256 channels and 256 px 2.4 GMAC,
    against 5.3 of ResNet-50), and what reads P2 mixes the channels itself.
    """

    def __init__(self, in_channels: Sequence[int], channels: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(width, channels, kernel_size=1) for width in in_channels)
        depthwise = nn.Conv2d(channels, channels, kernel_size=3, padding=1, groups=channels)
        dense = (nn.Conv2d(channels, channels, kernel_size=3, padding=1) for _ in LEVELS[1:])
        self.output = nn.ModuleList([depthwise, *dense])
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight, a=1)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        # Random weights would blur each channel in another way before anything has been learned.
        nn.init.dirac_(depthwise.weight, groups=channels)

    def train_only(self, levels: Collection[int]) -> None:
        """Freeze the weights that get no gradient where only some levels are read."""
        for level in LEVELS:
            self.output[level - 2].requires_grad_(level in levels)
            self.lateral[level - 2].requires_grad_(level >= min(levels))

    def forward(self, features: Sequence[Tensor], levels: Collection[int] = LEVELS) -> dict[int, Tensor]:
        """[C2, C3, C4, C5] → {level: (N, channels, S/2^level, S/2^level)}.

        The top-down path stops at the finest level asked for, and only levels asked for pass their 3×3 convolution.
        """
        pyramid: dict[int, Tensor] = {}
        merged: Tensor | None = None
        for level in range(5, min(levels) - 1, -1):
            lateral = self.lateral[level - 2](features[level - 2])
            # Nearest, not bilinear: its backward pass is deterministic on CUDA.
            merged = lateral if merged is None else lateral + F.interpolate(merged, scale_factor=2.0, mode="nearest")
            if level in levels:
                pyramid[level] = self.output[level - 2](merged)
        return pyramid
