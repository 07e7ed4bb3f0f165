"""How far a phase has come."""

import math
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor


class Stateful(Protocol):
    """Whatever changes with training and can say how it stands: model, optimiser, schedule."""

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> Any:
        """Stand as it was."""
        ...


@dataclass
class Progress:
    """Counters and sums of a phase.

    Attributes:
        step: optimiser steps taken.
        epoch: epochs trained and validated.
        best: lowest validation loss.
        stale: epochs since then.
        lr: learning rate of the last step.
        sums: by name, the sum of a figure over the steps of the current epoch, () float32.
    """

    step: int = 0
    epoch: int = 0
    best: float = math.inf
    stale: int = 0
    lr: float = 0.0
    sums: dict[str, Tensor] = field(default_factory=dict)

    def add(self, figures: dict[str, Tensor], lr: float) -> None:
        """Count a step."""
        for name, value in figures.items():
            self.sums[name] = self.sums[name] + value if name in self.sums else value
        self.step, self.lr = self.step + 1, lr

    def means(self, steps: int) -> dict[str, float]:
        """The sums over `steps` steps as means."""
        return {name: float(value) / steps for name, value in self.sums.items()}

    def end_epoch(self, loss: float) -> bool:
        """Count an epoch with its validation loss → whether it is the best so far."""
        better = loss < self.best
        self.best, self.stale = (loss, 0) if better else (self.best, self.stale + 1)
        self.epoch, self.sums = self.epoch + 1, {}
        return better

    def state_dict(self) -> dict[str, Any]:
        """Everything, as tensors and plain values."""
        return dict(vars(self))

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        """Stand as `state_dict` was taken."""
        vars(self).update(state)
        self.sums = {name: value.to(device) for name, value in self.sums.items()}
