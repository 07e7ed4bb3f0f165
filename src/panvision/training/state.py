"""A phase of training: its plan, which does not change while it runs, and its state, which does."""

import math
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch.optim import Optimizer

from panvision.model.multitask import MultiTaskModel
from panvision.training.data.sets import Sets
from panvision.training.data.settings import AugmentSettings
from panvision.training.data.stream import TrainingStream
from panvision.training.ddp import Ranks
from panvision.training.guards import FiniteGuard, Means, TrainingError
from panvision.training.losses import averaged_terms
from panvision.training.losses.targets import make_points
from panvision.training.losses.terms import CountAverage, LossContext
from panvision.training.losses.weights import TaskWeights
from panvision.training.optimisation import MovingAverage, Precision, Schedule, backbone_shares, make_optimizer
from panvision.training.settings import LossSettings, TrainSettings


@dataclass(frozen=True)
class Phase:
    """One phase of training.

    Attributes:
        name: `phase1` or `phase2`.
        epochs: at most this many.
        lr: peak learning rate.
        min_steps: take at least this many optimiser steps.
        backbone_factor, layer_decay: the backbone's shares of `lr`; see `optimisation.backbone_shares`.
        seed: decides the batches.
        sets: what to learn from and what to validate on.
        augment, loss, train: the settings.
        ranks: the processes that train together, each on its shard of every batch.
        order: the class labels from the first to the last; None if they have no order.
    """

    name: str
    epochs: int
    lr: float
    seed: int
    sets: Sets
    augment: AugmentSettings
    loss: LossSettings
    train: TrainSettings
    ranks: Ranks
    min_steps: int = 0
    backbone_factor: float = 1.0
    layer_decay: float = 1.0
    order: tuple[str, ...] | None = None

    def datasets(self, model: MultiTaskModel) -> dict[str, int]:
        """Return the datasets that the model's tasks learn from, with their number of training images."""
        rows = self.sets.split("train", model.tasks)
        return {dataset: len(of_dataset) for dataset, of_dataset in rows.items()}

    def epoch_steps(self, model: MultiTaskModel) -> int:
        """Return the optimiser steps of an epoch: one pass over the largest dataset, or more for `min_steps` in all."""
        images = self.train.batch_size * self.train.accumulate
        one_pass = math.ceil(max(self.datasets(model).values()) / images)
        return self.train.epoch_steps or max(one_pass, math.ceil(self.min_steps / max(1, self.epochs)))

    def stream(self, model: MultiTaskModel, rank: int) -> TrainingStream:
        """Return a rank's shard of every batch."""
        return TrainingStream(
            self.sets.packed,
            self.sets.split("train", model.tasks),
            self.augment,
            batch_size=self.train.batch_size,
            seed=self.seed,
            class_balance=self.train.class_balance,
            part=(rank, self.ranks.size),
        )

    def context(self, model: MultiTaskModel) -> LossContext:
        """Return what the losses need, on the model's device."""
        points = make_points(model.image_size, model.settings.strides).to(self.ranks.device)
        context = LossContext(points, self.loss)
        if self.loss.ordinal and self.order is not None and "classification" in model.tasks:
            places = torch.tensor([self.order.index(name) for name in model.cls_classes])
            context = context._replace(places=places.to(self.ranks.device))
        if self.loss.mask_class is not None and {"segmentation", "detection"} <= set(model.tasks):
            context = context._replace(mask_class=model.det_classes.index(self.loss.mask_class))
        return context


@dataclass
class TrainState:
    """Everything that an optimiser step changes.

    Attributes:
        model: the trained model, on its device.
        optimizer, schedule, scaler: how gradients become weights.
        loss_weights: weights of the tasks' losses, learned or fixed.
        ema: the averaged model, if there is one.
        step, epoch: optimiser steps taken, and epochs trained and validated.
        counts: running averages of what losses are divided by.
        norms: norm of each task's gradient on the backbone, of the last step of the epoch.
        best, stale: score and loss of the best validation, and epochs since then.
        rates: learning rates of the last step by name.
        means: means of the values of the current epoch's steps.
        guard: watches these values.
    """

    model: MultiTaskModel
    optimizer: Optimizer
    schedule: Schedule
    scaler: torch.amp.GradScaler
    loss_weights: TaskWeights
    ema: MovingAverage | None = None
    step: int = 0
    epoch: int = 0
    counts: CountAverage = field(default_factory=lambda: CountAverage(averaged_terms()))
    norms: dict[str, float] = field(default_factory=dict)
    best: tuple[float, float] = (-math.inf, math.inf)
    stale: int = 0
    rates: dict[str, float] = field(default_factory=dict)
    means: Means = field(default_factory=Means)
    guard: FiniteGuard = field(default_factory=FiniteGuard)

    @property
    def shipped(self) -> MultiTaskModel:
        """The model that is validated and kept: the averaged one if there is one."""
        return self.model if self.ema is None else self.ema.module

    def state_dict(self) -> dict[str, Any]:
        """Return everything as tensors and plain values."""
        named = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "guard"}
        return {name: value.state_dict() if hasattr(value, "state_dict") else value for name, value in named.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        for name, value in state.items():
            own = getattr(self, name)
            if hasattr(own, "load_state_dict"):
                own.load_state_dict(value)
            else:
                setattr(self, name, value)


def start(model: MultiTaskModel, phase: Phase) -> TrainState:
    """Return the state before the first step of a phase.

    Raises:
        TrainingError: the phase is shorter than its warm-up.
    """
    train, steps = phase.train, phase.epochs * phase.epoch_steps(model)
    if phase.epochs and train.warmup_steps >= steps:
        raise TrainingError(
            f"{phase.name}: train.warmup_steps is {train.warmup_steps}, but the phase has {steps} optimiser steps; "
            f"lower it, or raise train.{phase.name}.epochs"
        )
    weights = TaskWeights(phase.loss).to(phase.ranks.device)
    optimizer = make_optimizer(
        model,
        phase.lr,
        train.weight_decay,
        shares=backbone_shares(model, phase.backbone_factor, phase.layer_decay),
        loss_weights=weights.parameters(),
    )
    return TrainState(
        model=model,
        optimizer=optimizer,
        schedule=Schedule(optimizer, train, phase.lr, max(1, steps)),
        scaler=Precision(phase.ranks.device, train.amp).make_scaler(),
        loss_weights=weights,
        ema=MovingAverage(model, train.ema_decay) if train.ema_decay else None,
    )
