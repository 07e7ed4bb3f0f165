"""What turns gradients into weights: optimiser, learning rate schedule, precision, averaged weights."""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, LRScheduler, OneCycleLR
from torch.optim.swa_utils import AveragedModel

from panvision.model.multitask import MultiTaskModel
from panvision.training.settings import TrainSettings

# Cosine ends at this share of the peak learning rate.
COSINE_FLOOR = 0.01


def make_optimizer(model: nn.Module, lr: float, weight_decay: float) -> Optimizer:
    """AdamW over what may be trained; biases, normalisation and scales (one dimension or none) do not decay."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [parameter for parameter in trained if parameter.ndim >= 2], "weight_decay": weight_decay},
        {"params": [parameter for parameter in trained if parameter.ndim < 2], "weight_decay": 0.0},
    ]
    return AdamW(groups, lr=lr, fused=True)  # one kernel for all weights, on a CPU too


def make_schedule(optimizer: Optimizer, settings: TrainSettings, lr: float, steps: int) -> LRScheduler:
    """The learning rate over `steps` optimiser steps; `lr` is its peak."""
    if settings.schedule == "one_cycle":
        return OneCycleLR(optimizer, max_lr=lr, total_steps=steps, cycle_momentum=False)
    if settings.schedule == "cosine":
        return CosineAnnealingLR(optimizer, T_max=steps, eta_min=lr * COSINE_FLOOR)
    return ConstantLR(optimizer, factor=1.0)


class Precision:
    """Number formats of the forward pass.

    Attributes:
        scaler: scales gradients where float16 needs it, else does nothing.
    """

    def __init__(self, device: torch.device, amp: str) -> None:
        self._dtype: torch.dtype | None = None
        # Never on a CPU: without AVX512 or AMX bfloat16 is many times slower there.
        if device.type == "cuda" and amp == "auto":
            self._dtype = torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
        self._device = device
        self.scaler = torch.amp.GradScaler(device.type, enabled=self._dtype == torch.float16)

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """The context of a forward pass."""
        if self._dtype is None:
            return contextlib.nullcontext()
        return torch.autocast(self._device.type, dtype=self._dtype)


def make_average(model: MultiTaskModel, decay: float) -> AveragedModel | None:
    """An exponential moving average of weights and buffers, None where `decay` is 0."""
    if not decay:
        return None
    return AveragedModel(model, multi_avg_fn=_moving_average(decay), use_buffers=True)


def _moving_average(decay: float) -> Callable[[Sequence[Tensor], Sequence[Tensor], Tensor | int], None]:
    @torch.no_grad()
    def update(averaged: Sequence[Tensor], current: Sequence[Tensor], count: Tensor | int) -> None:
        # A young average follows faster, or the random first weights would stay in it for 1 / (1 - decay) steps.
        rate = min(decay, (1 + int(count)) / (10 + int(count)))
        for average, value in zip(averaged, current, strict=True):
            if average.is_floating_point():
                average.lerp_(value, 1 - rate)
            else:
                average.copy_(value)

    return update
