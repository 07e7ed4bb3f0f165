"""Optimiser, learning rate, averaged weights, and number formats."""

import contextlib
import copy
import itertools
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, OneCycleLR

from panvision.model.multitask import MultiTaskModel
from panvision.training.settings import TrainSettings

# The warm-up's first step has this share of the schedule's learning rate, as detectron2's has.
WARMUP_START = 0.001
# Key of a parameter group that says which part of the model it holds.
PART = "part"
BACKBONE = "backbone"


def make_optimizer(
    model: nn.Module,
    lr: float,
    weight_decay: float,
    *,
    shares: Mapping[str, float] = MappingProxyType({}),
    loss_weights: Iterable[nn.Parameter] = (),
) -> Optimizer:
    """Return AdamW over the trained weights; biases, normalisation and scales (one dimension or none) do not decay.

    Args:
        model: its `backbone`, if it has one, has separate parameter groups.
        lr: peak learning rate.
        weight_decay: of the weights with two or more dimensions.
        shares: by parameter name, the share of `lr` that it is trained with; 1 for all others.
        loss_weights: further learned values, which do not decay.
    """
    parts: dict[tuple[str, float, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            part = BACKBONE if name.startswith("backbone.") else ""
            parts.setdefault((part, -shares.get(name, 1.0), parameter.ndim < 2), []).append(parameter)
    groups: list[dict[str, Any]] = []
    for (part, share, flat), trained in sorted(parts.items(), key=lambda item: item[0]):  # highest rate first
        groups.append({"params": trained, "lr": -share * lr, "weight_decay": 0.0 if flat else weight_decay, PART: part})
    groups.append({"params": list(loss_weights), "lr": lr, "weight_decay": 0.0, PART: "loss"})
    # One kernel for all weights, also on a CPU.
    return AdamW([group for group in groups if group["params"]], lr=lr, fused=True)


def backbone_shares(model: MultiTaskModel, factor: float, decay: float) -> dict[str, float]:
    """Return the share of the learning rate of each parameter of the backbone, by its name in the model.

    With a factor f and a decay d the stages that end in C5, C4, C3 and C2 have shares f, f·d, f·d² and f·d³: earlier
    features are more general, so they may change less (Clark et al. 2020, ELECTRA, section 3.1; Bao et al. 2022, BEiT).
    """
    stages = model.backbone.stages()
    last = max(stages.values(), default=0)
    return {f"backbone.{name}": factor * decay ** (last - stage) for name, stage in stages.items()}


def trained_weights(model: nn.Module) -> list[nn.Parameter]:
    """Return the trained weights of a model, in the order in which the gradient's norm is summed."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return sorted(trained, key=lambda parameter: parameter.ndim < 2)


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


class MovingAverage:
    """A second model whose weights follow the first's: a ← r · a + (1 - r) · w, r = min(decay, (1 + n) / (10 + n)).

    n is the number of averaged steps: a young average follows faster, or the random first weights would stay in it
    for 1 / (1 - decay) steps. BatchNorm's statistics are averaged like the weights that they belong to; counters are
    copied. Unlike PyTorch's AveragedModel it counts on the CPU, so that a GPU need not wait for it.

    Attributes:
        module: the averaged model.

    Args:
        model: the model to follow, on its device.
        decay: r in the long run, above 0 and below 1.
    """

    def __init__(self, model: MultiTaskModel, decay: float) -> None:
        self.module = copy.deepcopy(model)
        self._decay, self._steps = decay, 0

    @torch.no_grad()
    def update(self, model: MultiTaskModel) -> None:
        """Average in the weights after one more optimiser step; the first ones are copied."""
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
        """Return what `load_state_dict` restores."""
        return {"steps": self._steps, "module": self.module.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self._steps = int(state["steps"])
        self.module.load_state_dict(state["module"])


class Precision:
    """Number formats of the forward pass."""

    def __init__(self, device: torch.device, amp: str) -> None:
        self._dtype: torch.dtype | None = None
        # Never on a CPU: without AVX512 or AMX bfloat16 is many times slower there.
        if device.type == "cuda" and amp == "auto":
            # GPUs before compute capability 8.0 (T4, V100, RTX 20xx) only emulate bfloat16, which is slow; PyTorch
            # counts that as supported by default.
            native = torch.cuda.is_bf16_supported(including_emulation=False)
            self._dtype = torch.bfloat16 if native else torch.float16
        self._device = device

    def make_scaler(self) -> torch.amp.GradScaler:
        """Return what scales gradients where float16 needs it, and does nothing elsewhere."""
        return torch.amp.GradScaler(self._device.type, enabled=self._dtype == torch.float16)

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Return the context of a forward pass."""
        if self._dtype is None:
            return contextlib.nullcontext()
        return torch.autocast(self._device.type, dtype=self._dtype)
