"""Layers whose result depends on the whole batch, where each rank holds a share of it: BatchNorm and dropout.

With them, a model that several ranks train is, but for rounding, the one that a single process trains.
"""

from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F  # noqa: N812 -- PyTorch's own convention
from torch import Tensor, nn

from panvision.training.distributed import Ranks, noticing_loss

CHANNELS = (0, 2, 3)  # dimensions of (N, C, H, W) over which BatchNorm takes its statistics


def share_layers(model: nn.Module, ranks: Ranks) -> None:
    """Put shared layers in the place of every BatchNorm and dropout; with one rank leave the model as it is.

    Parameters and buffers stay the same objects under the same names.
    """
    if ranks.size == 1:
        return
    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            if type(layer) is nn.BatchNorm2d:
                setattr(parent, name, SharedBatchNorm(layer, ranks.size))
            elif type(layer) is nn.Dropout:
                shared = SharedDropout(layer.p, rank=ranks.rank, size=ranks.size)
                setattr(parent, name, shared.train(layer.training))


class SharedBatchNorm(nn.BatchNorm2d):
    """BatchNorm with the statistics of all ranks' shares together, which are equally large.

    PyTorch's SyncBatchNorm does the same on CUDA only. In evaluation mode it is the layer that it was made from.

    Args:
        layer: whose parameters and buffers it takes.
        size: number of ranks.
    """

    def __init__(self, layer: nn.BatchNorm2d, size: int) -> None:
        super().__init__(layer.num_features, eps=layer.eps, momentum=layer.momentum, affine=False)
        self.affine, self.weight, self.bias = layer.affine, layer.weight, layer.bias
        self.running_mean, self.running_var = layer.running_mean, layer.running_var
        self.num_batches_tracked = layer.num_batches_tracked
        self._size = size
        self.train(layer.training)

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, H, W) → the same shape."""
        if not self.training:
            return super().forward(input)
        output, mean, variance = _Normalise.apply(input, self.weight, self.bias, self.eps, self._size)
        count = self._size * input.numel() / input.shape[1]
        momentum: float = self.momentum  # type: ignore[assignment]  # ResNet's layers have one
        with torch.no_grad():
            self.running_mean.lerp_(mean, momentum)  # type: ignore[union-attr]
            # Running variances are unbiased ones, as in nn.BatchNorm2d.
            self.running_var.lerp_(variance * (count / (count - 1)), momentum)  # type: ignore[union-attr]
            self.num_batches_tracked.add_(1)  # type: ignore[union-attr]
        return output


class _Normalise(torch.autograd.Function):
    """Batch normalisation (Ioffe and Szegedy 2015, algorithm 1 and the gradients of its section 3)."""

    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor, eps: float, size: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        own = torch.stack(torch.var_mean(inputs.float(), CHANNELS, correction=0))  # (2, C): variances, means
        shares = [torch.empty_like(own) for _ in range(size)]
        with noticing_loss():
            dist.all_gather(shares, own)
        variances, means = torch.stack(shares).unbind(1)  # (R, C) each
        mean = means.mean(0)
        # Within the shares and between them.
        variance = (variances + (means - mean).square()).mean(0)
        ctx.save_for_backward(inputs, weight, mean, variance)
        ctx.eps, ctx.size = eps, size
        ctx.mark_non_differentiable(mean, variance)
        return F.batch_norm(inputs, mean, variance, weight, bias, training=False, eps=eps), mean, variance

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        inputs, weight, mean, variance = ctx.saved_tensors
        scale = torch.rsqrt(variance + ctx.eps)
        normalised = (inputs.float() - mean[:, None, None]) * scale[:, None, None]  # (N, C, H, W)
        own = torch.stack([gradient.float().sum(CHANNELS), (gradient.float() * normalised).sum(CHANNELS)])  # (2, C)
        whole = own.clone()
        with noticing_loss():
            dist.all_reduce(whole)
        count = ctx.size * inputs.numel() / inputs.shape[1]
        shift, slope = (whole / count)[:, :, None, None]
        back = (gradient.float() - shift - normalised * slope) * (weight * scale)[:, None, None]
        # The parameters' gradients are this rank's part; they are added up with all the others.
        return back.to(inputs.dtype), own[1], own[0], None, None


class SharedDropout(nn.Module):
    """Dropout that draws for the whole batch, as one process would, and keeps its own rows.

    So the random generators of all ranks stay the same.

    Args:
        p: share of the values that become 0.
        rank: whose rows.
        size: number of ranks.
    """

    def __init__(self, p: float, *, rank: int, size: int) -> None:
        super().__init__()
        self.p, self._rank, self._size = p, rank, size

    def forward(self, inputs: Tensor) -> Tensor:
        """(N, …) → the same shape."""
        if not self.training:
            return inputs
        rows = len(inputs)
        whole = torch.ones((self._size * rows, *inputs.shape[1:]), dtype=inputs.dtype, device=inputs.device)
        return inputs * F.dropout(whole, self.p)[self._rank * rows : (self._rank + 1) * rows]
