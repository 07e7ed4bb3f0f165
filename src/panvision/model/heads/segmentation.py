"""Segmentation head: P2 to mask logits at the input's own size."""

import math

import torch
from torch import Tensor, nn

from panvision.model.heads.base import HeadInputs, HeadSpec, make_norm
from panvision.model.settings import HeadNorm


class SegmentationHead(nn.Module):
    """P2 (N, F, S/4, S/4) → mask logits (N, 1, S, S): two transposed convolutions and a 1×1 classifier.

    2×2 kernels at stride 2 do not overlap: no checkerboard, and a quarter of the work of 4×4 kernels. The one
    normalisation comes first, where the map is smallest: behind the transposed convolutions it would cost as much time
    as they do, and `pointwise` could not exist.
    """

    levels = ("P2",)

    def __init__(self, in_channels: int, channels: int, *, norm: HeadNorm = "group") -> None:
        super().__init__()
        half = max(channels // 2, 8)
        self.norm = make_norm(norm, in_channels)
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
        """Return mask logits (N, 1, S, S)."""
        x = self.relu(self.norm(p2))
        x = self.relu(self.first(x))  # (N, C, S/2, S/2)
        return self.classifier(self.relu(self.second(x)))

    @torch.no_grad()
    def pointwise(self) -> nn.Sequential:
        """Return the same function as 1×1 convolutions on P2's grid, for runtimes.

        Each of the 16 pixels below a cell of P2 depends on that cell alone, so the pixels can be channels until the
        end: no map larger than P2's is written. A 1×1 convolution is a runtime's fastest kernel and can be quantised
        (ONNX Runtime has no transposed convolution in INT8).
        """
        # (in, out, 2, 2) → (4 · out, in), the 2×2 pixels in front of the output's channels.
        first, second = (
            layer.weight.permute(2, 3, 1, 0).reshape(-1, layer.in_channels) for layer in (self.first, self.second)
        )
        # One row per pixel, non-zero at its own channels only, (16, 16 · half). Rows are in PixelShuffle's order,
        # (y, y', x, x'); columns in the order of the layers above, (y, x, y', x').
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


def _pointwise(weight: Tensor, bias: Tensor | None, groups: int = 1) -> nn.Conv2d:
    """Return a 1×1 convolution with weights (out, in / groups), its bias repeated until it fits."""
    out_channels, width = weight.shape
    layer = nn.Conv2d(width * groups, out_channels, kernel_size=1, groups=groups)
    layer.weight.copy_(weight[:, :, None, None])
    if bias is not None and layer.bias is not None:
        layer.bias.copy_(bias.repeat(out_channels // len(bias)))
    return layer


def _build(inputs: HeadInputs) -> SegmentationHead:
    settings = inputs.settings
    return SegmentationHead(settings.fpn_channels, settings.seg_channels, norm=settings.head_norm)


def _flatten(logits: Tensor) -> tuple[Tensor, ...]:
    """(N, 1, S, S) → mask_logits (N, S, S)."""
    return (logits[:, 0],)


HEAD = HeadSpec(build=_build, flatten=_flatten, for_runtimes=SegmentationHead.pointwise)
