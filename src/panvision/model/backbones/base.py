"""Common parts of all backbones: normalisation, freezing, and BatchNorm that becomes part of its convolution."""

from collections.abc import Iterable
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 -- PyTorch's own convention
from torch import Tensor, nn


def in_pixels(fractions: Iterable[float]) -> tuple[float, ...]:
    """Scale statistics of images in 0..1 to images in 0..255, rounded like float32 tensors."""
    return tuple((255 * np.array([*fractions], np.float32)).tolist())


class Backbone(nn.Module):
    """A network from normalised images to [C2, C3, C4, C5]; a subclass sets `channels` and defines `forward`.

    `forward` maps (N, 3, S, S) to the sides S/4, S/8, S/16 and S/32, for every S that 32 divides.

    Attributes:
        channels: channels of C2, C3, C4, C5.
        pixel_mean: mean by which the input is normalised, per channel of RGB in 0..255; by default ImageNet's.
        pixel_std: standard deviation, in the same units.
        ignored: how the names of published weights begin that belong to the classifier.
    """

    channels: tuple[int, ...]
    pixel_mean: tuple[float, ...] = in_pixels((0.485, 0.456, 0.406))
    pixel_std: tuple[float, ...] = in_pixels((0.229, 0.224, 0.225))
    ignored: tuple[str, ...] = ()
    _statistics_frozen = False

    @property
    def published(self) -> nn.Module:
        """The module whose parameters have the names of the published weights."""
        return self

    def freeze(self, *, weights: bool, batch_norm: bool) -> None:
        """Choose what training may change.

        Args:
            weights: nothing of the backbone gets a gradient, and its BatchNorm statistics stay.
            batch_norm: BatchNorm keeps its statistics and its affine parameters; all other weights train.
        """
        self._statistics_frozen = weights or batch_norm
        self.requires_grad_(not weights)
        for module in self._batch_norms():
            module.requires_grad_(not self._statistics_frozen)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Set the mode like `nn.Module.train`, except that frozen BatchNorm stays in evaluation mode."""
        super().train(mode)
        if self._statistics_frozen:
            for module in self._batch_norms():
                module.eval()
        return self

    def stages(self) -> dict[str, int]:
        """Return the stage of each trained parameter: 0 if C2 depends on it, else 1 if C3 does, and so on to 3."""
        trained = {name: parameter for name, parameter in self.named_parameters() if parameter.requires_grad}
        if not trained:
            return {}
        training = self.training
        self.eval()  # BatchNorm's statistics do not change
        features = self(torch.zeros(1, 3, 32, 32, device=next(self.parameters()).device))
        self.train(training)
        found: dict[str, int] = {}
        for stage, feature in enumerate(features):
            gradients = torch.autograd.grad(feature.sum(), [*trained.values()], retain_graph=True, allow_unused=True)
            for name, gradient in zip(trained, gradients, strict=True):
                if gradient is not None:
                    found.setdefault(name, stage)
        return found

    def _batch_norms(self) -> list[nn.Module]:
        return [module for module in self.modules() if isinstance(module, (nn.BatchNorm2d, nn.SyncBatchNorm))]


def convolve(x: Tensor, conv: nn.Conv2d, norm: nn.BatchNorm2d) -> Tensor:
    """BatchNorm of a convolution's output, (N, D, h, w) → (N, E, h', w').

    Frozen BatchNorm (evaluation mode, no gradients) is an affine map per channel. It is then multiplied into the
    convolution's weights: one pass over the output less in either direction, and the convolution's output need not be
    kept for the backward pass. The convolution's own weights get their gradient through the product.
    """
    if norm.training or norm.weight.requires_grad or norm.running_mean is None or norm.running_var is None:
        return norm(conv(x))
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()  # (E,)
    shift = norm.bias - norm.running_mean * scale
    if conv.bias is not None:
        shift = shift + conv.bias * scale
    weight = conv.weight * scale[:, None, None, None]
    return F.conv2d(x, weight, shift, conv.stride, conv.padding, conv.dilation, conv.groups)
