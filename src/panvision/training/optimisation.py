"""What turns gradients into weights: optimiser and precision."""

import contextlib
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.optim import AdamW, Optimizer

from panvision.training.schedule import BACKBONE, PART


def make_optimizer(
    model: nn.Module,
    lr: float,
    weight_decay: float,
    *,
    backbone_lr: float | None = None,
    loss_weights: Iterable[nn.Parameter] = (),
) -> Optimizer:
    """AdamW over what may be trained; biases, normalisation and scales (one dimension or none) do not decay.

    Args:
        model: whose `backbone`, if it has one, gets parameter groups of its own.
        lr: peak learning rate.
        weight_decay: of the weights with two or more dimensions.
        backbone_lr: the backbone's, None is `lr`.
        loss_weights: what is learned besides the model; it does not decay.
    """
    groups: list[dict[str, Any]] = []
    for part, part_lr in (("", lr), (BACKBONE, lr if backbone_lr is None else backbone_lr)):
        trained = [
            parameter
            for name, parameter in model.named_parameters()
            if parameter.requires_grad and name.startswith("backbone.") is (part == BACKBONE)
        ]
        decaying = [parameter for parameter in trained if parameter.ndim >= 2]
        rest = [parameter for parameter in trained if parameter.ndim < 2]
        groups.append({"params": decaying, "lr": part_lr, "weight_decay": weight_decay, PART: part})
        groups.append({"params": rest, "lr": part_lr, "weight_decay": 0.0, PART: part})
    groups.append({"params": list(loss_weights), "lr": lr, "weight_decay": 0.0, PART: "loss"})
    # One kernel for all weights, on a CPU too.
    return AdamW([group for group in groups if group["params"]], lr=lr, fused=True)


def trained_weights(model: nn.Module) -> list[nn.Parameter]:
    """What of the model may be trained, in the order in which its gradient's norm is added up."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return sorted(trained, key=lambda parameter: parameter.ndim < 2)


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

    def explains_overflow(self) -> bool:
        """Whether float16's scale explains a gradient that is not finite; waits for the device.

        The scaler begins with a large scale, skips the steps whose scaled gradient overflows and halves the scale.
        Below 1 it makes gradients smaller, so what is not finite then was so without it.
        """
        return self.scaler.is_enabled() and self.scaler.get_scale() >= 1.0
