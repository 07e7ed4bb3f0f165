"""How far a phase has come."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from panvision.training.finite import Means


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
        rates: learning rates of the last step by name.
        means: figures of the current epoch's steps.
    """

    step: int = 0
    epoch: int = 0
    best: float = math.inf
    stale: int = 0
    rates: dict[str, float] = field(default_factory=dict)
    means: Means = field(default_factory=Means)

    def add(self, figures: Mapping[str, Tensor], rates: dict[str, float]) -> None:
        """Count a step with its () figures and the learning rates that it had."""
        self.means.add(figures)
        self.step, self.rates = self.step + 1, rates

    def end_epoch(self, loss: float) -> bool:
        """Count an epoch with its validation loss → whether it is the best so far."""
        better = loss < self.best
        self.best, self.stale = (loss, 0) if better else (self.best, self.stale + 1)
        self.epoch, self.means = self.epoch + 1, Means()
        return better

    def state_dict(self) -> dict[str, Any]:
        """Everything, as tensors and plain values."""
        return {**vars(self), "means": self.means.state_dict()}

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        """Stand as `state_dict` was taken."""
        vars(self).update(state)
        self.means = Means()
        self.means.load_state_dict(state["means"], device)
