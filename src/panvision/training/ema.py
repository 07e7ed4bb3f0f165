"""Averaged weights: an exponential moving average of the model over the optimiser steps."""

import copy
from typing import Any

import torch

from panvision.model.multitask import MultiTaskModel


class MovingAverage:
    """A second model whose weights follow the first's: a ← r · a + (1 - r) · w, r = min(decay, (1 + n) / (10 + n)).

    n is the number of averaged steps: a young average follows faster, or the random first weights would stay in it
    for 1 / (1 - decay) steps. BatchNorm's statistics are averaged like the weights that they belong to; counters are
    copied. Unlike PyTorch's AveragedModel it counts on the CPU, so that a GPU need not wait for it.

    Attributes:
        module: the averaged model.

    Args:
        model: what to follow, on its device.
        decay: r in the long run, above 0 and below 1.
    """

    def __init__(self, model: MultiTaskModel, decay: float) -> None:
        self.module = copy.deepcopy(model)
        self._decay, self._steps = decay, 0

    @torch.no_grad()
    def update(self, model: MultiTaskModel) -> None:
        """Take in the weights after one more optimiser step; the first ones are taken over as they are."""
        rate = min(self._decay, (1 + self._steps) / (10 + self._steps)) if self._steps else 0.0
        pairs = [
            *zip(self.module.parameters(), model.parameters(), strict=True),
            *zip(self.module.buffers(), model.buffers(), strict=True),
        ]
        weights = [pair for pair in pairs if pair[0].is_floating_point()]
        # All in one kernel, where a GPU would need one each.
        torch._foreach_lerp_([average for average, _ in weights], [value for _, value in weights], 1 - rate)
        for average, value in pairs:
            if not average.is_floating_point():
                average.copy_(value)
        self._steps += 1

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` goes on from."""
        return {"steps": self._steps, "module": self.module.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where another average of the same model was."""
        self._steps = int(state["steps"])
        self.module.load_state_dict(state["module"])
