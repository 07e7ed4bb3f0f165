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

    2×2 kernels at stride 2 do not overlap: no checkerboard, and a quarter of the work of 4×4 kernels. The one
    normalisation comes first, where the map is smallest: behind the transposed convolutions it would cost as much time
    as they do, and `pointwise` could not exist.
    """

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        half = max(channels // 2, 8)
        self.norm = group_norm(in_channels)
        self.first = nn.ConvTranspose2d(in_channels, channels, kernel_size=2, stride=2)
        self.second = nn.ConvTranspose2d(channels, half, kernel_size=2, stride=2)
        self.classifier = nn.Conv2d(half, 1, kernel_size=1)
        self.relu = nn.ReLU()
        for layer in (self.first, self.second):
            # He et al. 2015; by hand, because PyTorch takes the wrong fan: a pixel sees in_channels values.
            nn.init.normal_(layer.weight, std=math.sqrt(2 / layer.in_channels))
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

    def forward(self, p2: Tensor) -> Tensor:
        """Mask logits (N, 1, S, S)."""
        x = self.relu(self.norm(p2))
        x = self.relu(self.first(x))  # (N, C, S/2, S/2)
        return self.classifier(self.relu(self.second(x)))

    @torch.no_grad()
    def pointwise(self) -> nn.Sequential:
        """The same function as 1×1 convolutions on P2's grid, for runtimes.

        Each of the 16 pixels below a cell of P2 depends on that cell alone, so the pixels can be channels until the
        end: no map larger than P2's is ever written, runtimes have no faster kernel than a 1×1 convolution's, and can
        quantise it (ONNX Runtime has no transposed convolution in INT8).
        """
        # (in, out, 2, 2) → (4 · out, in), the 2×2 pixels in front of the output's channels.
        first, second = (
            layer.weight.permute(2, 3, 1, 0).reshape(-1, layer.in_channels) for layer in (self.first, self.second)
        )
        # One row per pixel that sees its own channels and no other's, (16, 16 · half). The rows stand as PixelShuffle
        # wants them, by (y, y', x, x'); the columns as they came, by (y, x, y', x').
        rows = torch.arange(16).view(2, 2, 2, 2).transpose(1, 2).flatten()
        classifier = torch.kron(torch.eye(16), self.classifier.weight.flatten()[None])[rows]
        layers = (
            _pointwise(first, self.first.bias),
            self.relu,
            _pointwise(second.repeat(4, 1), self.second.bias, groups=4),
            self.relu,
            _pointwise(classifier, self.classifier.bias),
        )
        return nn.Sequential(self.norm, self.relu, *layers, nn.PixelShuffle(4)).eval()


class DetectionHead(nn.Module):
    """FCOS head (Tian et al. 2020), shared by all levels: a class tower and a box tower.

    Centerness is read from the box tower, as the authors' later code and torchvision do.
    """

    def __init__(self, in_channels: int, channels: int, num_classes: int, *, num_levels: int, num_convs: int) -> None:
        super().__init__()
        self.class_tower = _tower(in_channels, channels, num_convs)
        self.box_tower = _tower(in_channels, channels, num_convs)
        channels = channels if num_convs else in_channels
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
    """C5 (N, D, ·, ·) → state logits (N, C): global average pool and two fully connected layers.

    The pooled values are all positive, up to 2,048 of them, and much alike in all pictures. A step of Adam changes the
    weights of a hidden unit by about the learning rate each, mostly with one sign, so its sum by a multiple of what it
    was: without LayerNorm (Ba et al. 2016) ReLU soon shuts most units off for every picture, at higher rates all of
    them, and from then on nothing is learned.
    """

    def __init__(self, in_channels: int, num_classes: int, *, hidden: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(in_channels, hidden, bias=False),
            nn.LayerNorm(hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden, num_classes),
        )

    def forward(self, c5: Tensor) -> Tensor:
        """State logits (N, C)."""
        # mean(), not AdaptiveAvgPool2d: the latter's backward pass is not deterministic on CUDA.
        return self.layers(c5.mean((2, 3)))


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


def _pointwise(weight: Tensor, bias: Tensor | None, groups: int = 1) -> nn.Conv2d:
    """A 1×1 convolution of weights (out, in / groups), its bias repeated until it fits."""
    out_channels, width = weight.shape
    layer = nn.Conv2d(width * groups, out_channels, kernel_size=1, groups=groups)
    layer.weight.copy_(weight[:, :, None, None])
    if bias is not None and layer.bias is not None:
        layer.bias.copy_(bias.repeat(out_channels // len(bias)))
    return layer
