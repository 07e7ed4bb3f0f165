"""The learning rate over a phase."""

import itertools
from collections.abc import Iterator
from typing import Any

import torch
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, OneCycleLR

from panvision.training.settings import TrainSettings

# The warm-up's first step has this share of the schedule's learning rate, as detectron2's has.
WARMUP_START = 0.001
# Key of a parameter group that says which part of the model it holds.
PART = "part"
BACKBONE = "backbone"


class Schedule:
    """Sets the learning rates of an optimiser's parameter groups step by step.

    Every group follows the same course in proportion to the learning rate that it was made with.

    Args:
        optimizer: its groups' learning rates are their peaks.
        settings: `schedule`, `final_lr`, `warmup_steps`.
        lr: the phase's peak learning rate.
        steps: optimiser steps of the phase.
    """

    def __init__(self, optimizer: Optimizer, settings: TrainSettings, lr: float, steps: int) -> None:
        self._optimizer, self._settings, self._lr, self._steps = optimizer, settings, lr, steps
        self._shares = [group["lr"] / lr for group in optimizer.param_groups]
        self._go_to(0)

    def step(self) -> None:
        """One optimiser step is done; after the last one the rates stay."""
        self._done += 1
        self._set(next(self._course, self._rate))

    def rates(self) -> dict[str, float]:
        """The rates of the coming step: `lr`, and `backbone_lr` if the backbone is trained."""
        found: dict[str, float] = {}
        for group in self._optimizer.param_groups:
            found.setdefault("backbone_lr" if group.get(PART) == BACKBONE else "lr", float(group["lr"]))
        return found

    def state_dict(self) -> dict[str, Any]:
        """Return the state that `load_state_dict` resumes from."""
        return {"done": self._done}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume where another schedule of the same settings was."""
        self._go_to(int(state["done"]))

    def _go_to(self, done: int) -> None:
        self._done = done
        self._course = itertools.islice(
            warmed_up(self._settings, self._lr, self._steps), min(done, self._steps - 1), None
        )
        self._set(next(self._course))

    def _set(self, rate: float) -> None:
        self._rate = rate
        for group, share in zip(self._optimizer.param_groups, self._shares, strict=True):
            group["lr"] = rate * share


def warmed_up(settings: TrainSettings, lr: float, steps: int) -> Iterator[float]:
    """Yield the learning rate of each of `steps` optimiser steps; `lr` is its peak.

    The warm-up is a factor on the schedule that rises linearly to 1 over `warmup_steps` steps (Goyal et
    al. 2017, section 2.2), so every schedule has one, and is what it was once the warm-up is over.
    """
    for step, rate in enumerate(_course(settings, lr, steps)):
        if step < settings.warmup_steps:
            yield rate * (WARMUP_START + (1 - WARMUP_START) * step / settings.warmup_steps)
        else:
            yield rate


def _course(settings: TrainSettings, lr: float, steps: int) -> Iterator[float]:
    """The schedule without warm-up."""
    if settings.schedule == "constant":
        yield from itertools.repeat(lr, steps)
        return
    if settings.schedule == "exponential":
        yield from (lr * settings.final_lr ** (step / steps) for step in range(steps))
        return
    # PyTorch's schedules, led by a separate optimiser without weights.
    pilot = SGD([torch.zeros(())], lr=lr)
    schedule: LRScheduler
    if settings.schedule == "one_cycle":
        schedule = OneCycleLR(pilot, max_lr=lr, total_steps=steps, cycle_momentum=False)
    else:
        schedule = CosineAnnealingLR(pilot, T_max=steps, eta_min=lr * settings.final_lr)
    for _ in range(steps):
        yield float(pilot.param_groups[0]["lr"])
        pilot.step()
        schedule.step()
