"""ResNet backbone (He et al. 2016) that returns the feature maps C2 to C5."""

from typing import Self

import torch.nn.functional as F  # noqa: N812 -- PyTorch's own convention
from torch import Tensor, nn

from panvision.model.backbones.resnet import BasicBlock, Block, Bottleneck, convolve, initialise, make_stage
from panvision.model.settings import BackboneName

# Block type and blocks per stage. resnet10 is one BasicBlock a stage; the others are torchvision's.
LAYOUTS: dict[BackboneName, tuple[Block, tuple[int, int, int, int]]] = {
    "resnet10": (BasicBlock, (1, 1, 1, 1)),
    "resnet18": (BasicBlock, (2, 2, 2, 2)),
    "resnet34": (BasicBlock, (3, 4, 6, 3)),
    "resnet50": (Bottleneck, (3, 4, 6, 3)),
    "resnet101": (Bottleneck, (3, 4, 23, 3)),
}


class Backbone(nn.Module):
    """The convolutional part of a ResNet; parameter names are torchvision's (`conv1`, `bn1`, `layer1`, …).

    Attributes:
        channels: channels of C2, C3, C4, C5.
    """

    def __init__(self, name: BackboneName) -> None:
        super().__init__()
        block, (two, three, four, five) = LAYOUTS[name]
        self.channels = tuple(64 * block.expansion * 2**stage for stage in range(4))
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = make_stage(block, 64, 64, two, stride=1)
        self.layer2 = make_stage(block, self.channels[0], 128, three, stride=2)
        self.layer3 = make_stage(block, self.channels[1], 256, four, stride=2)
        self.layer4 = make_stage(block, self.channels[2], 512, five, stride=2)
        initialise(self)
        self._statistics_frozen = False

    def forward(self, x: Tensor) -> list[Tensor]:
        """(N, 3, S, S) normalised → [C2 (N, ·, S/4, S/4), C3 (S/8), C4 (S/16), C5 (S/32)]."""
        x = convolve(x, self.conv1, self.bn1)  # (N, 64, S/2, S/2)
        # ReLU last: the same values and gradients as before the pooling, at a quarter of the places.
        x = F.relu(F.max_pool2d(x, kernel_size=3, stride=2, padding=1), inplace=True)  # (N, 64, S/4, S/4)
        c2 = self.layer1(x)
        c3 = self.layer2(c2)
        c4 = self.layer3(c3)
        return [c2, c3, c4, self.layer4(c4)]

    def freeze(self, *, weights: bool, batch_norm: bool) -> None:
        """Choose what training may change.

        Args:
            weights: nothing of the backbone gets a gradient, and its BatchNorm statistics stay.
            batch_norm: BatchNorm keeps its statistics and its affine parameters; the convolutions train.
        """
        self._statistics_frozen = weights or batch_norm
        self.requires_grad_(not weights)
        for module in self._batch_norms():
            module.requires_grad_(not self._statistics_frozen)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """As `nn.Module.train`, except that frozen BatchNorm stays in evaluation mode."""
        super().train(mode)
        if self._statistics_frozen:
            for module in self._batch_norms():
                module.eval()
        return self

    def _batch_norms(self) -> list[nn.BatchNorm2d]:
        return [module for module in self.modules() if isinstance(module, nn.BatchNorm2d)]
