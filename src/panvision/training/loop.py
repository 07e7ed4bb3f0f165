"""The training loop of one phase: steps, validation, the best model, early stopping."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from tqdm import tqdm

from panvision.data.sets import Sets
from panvision.data.settings import AugmentSettings
from panvision.data.stream import Batch, TrainingStream, training_batches
from panvision.model.multitask import MultiTaskModel
from panvision.training.curves import LOSSES, Row
from panvision.training.keeping import Keeper, NoKeeper
from panvision.training.losses import batch_terms, task_losses
from panvision.training.optimisation import Precision, make_average, make_optimizer, make_schedule
from panvision.training.progress import Progress, Stateful
from panvision.training.repeat import random_state, restore_random_state
from panvision.training.settings import LossSettings, TrainSettings
from panvision.training.targets import Points, make_points
from panvision.training.validation import Validation, validate

# Steps between two looks at the losses: each look makes a GPU wait.
REFRESH = 10

SaveModel = Callable[[MultiTaskModel, int, Validation], None]


class TrainingError(RuntimeError):
    """Training cannot go on; the message says what happened and what to turn."""


@dataclass(frozen=True)
class Plan:
    """What a phase is.

    Attributes:
        name: `phase1` or `phase2`.
        epochs: at most so many.
        lr: peak learning rate.
        seed: decides the batches.
    """

    name: str
    epochs: int
    lr: float
    seed: int


class Phase:
    """One phase of training.

    Args:
        model: on its device, frozen as the phase wants it.
        sets: what to learn from and what to validate on.
        plan: epochs and learning rate.
        augment: changes of the training images.
        loss: forms and weights of the losses.
        train: batch size and everything else of the `train` section that both phases read.
    """

    def __init__(
        self,
        model: MultiTaskModel,
        sets: Sets,
        plan: Plan,
        *,
        augment: AugmentSettings,
        loss: LossSettings,
        train: TrainSettings,
    ) -> None:
        self._model, self._sets, self._plan, self._loss, self._train = model, sets, plan, loss, train
        self._device = model.pixel_mean.device
        rows = sets.split("train", model.tasks)
        largest = max(len(of_task) for of_task in rows.values())
        self._epoch_steps = train.epoch_steps or math.ceil(largest / train.batch_size)
        self._stream = TrainingStream(sets.packed, rows, augment, batch_size=train.batch_size, seed=plan.seed)
        self._points: Points = make_points(model.image_size, model.settings.strides).to(self._device)
        self._optimizer = make_optimizer(model, plan.lr, train.weight_decay)
        self._schedule = make_schedule(self._optimizer, train, plan.lr, max(1, plan.epochs * self._epoch_steps))
        self._precision = Precision(self._device, train.amp)
        self._average = make_average(model, train.ema_decay)
        self.progress = Progress()
        self._random: dict[str, Any] | None = None
        # By name, everything else that a step changes.
        self._stateful: dict[str, Stateful] = {
            "model": model,
            "optimizer": self._optimizer,
            "schedule": self._schedule,
            "scaler": self._precision.scaler,
        }
        if self._average is not None:
            self._stateful["average"] = self._average

    @property
    def device(self) -> torch.device:
        """Where the phase computes."""
        return self._device

    def state_dict(self) -> dict[str, Any]:
        """All that the rest of the phase depends on, as tensors and plain values."""
        return {
            "progress": self.progress.state_dict(),
            "objects": {name: value.state_dict() for name, value in self._stateful.items()},
            "random": random_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Stand as `state_dict` was taken; `run` goes on from there."""
        self.progress.load_state_dict(state["progress"], self._device)
        for name, value in self._stateful.items():
            value.load_state_dict(state["objects"][name])
        self._random = state["random"]

    def run(self, *, save: SaveModel, log: Callable[[Row], None], keeper: Keeper | None = None) -> None:
        """Train until the last epoch, or until `patience` epochs brought no better validation loss.

        Args:
            save: called with the model, its epoch and its validation whenever it is the best so far.
            log: called with every epoch's figures.
            keeper: told where the state can be saved; by default nobody.

        Raises:
            TrainingError: a loss is not finite.
        """
        keeper = keeper or NoKeeper()
        if self._plan.epochs == 0:
            save(self._model, 0, self._validate(self._model))
            return
        batches = training_batches(
            self._stream,
            start=self.progress.step,
            stop=self._plan.epochs * self._epoch_steps,
            workers=self._train.workers,
            pin_memory=self._device.type == "cuda",
        )
        if self._random is not None:
            # After the loader was made: it draws a number itself.
            restore_random_state(self._random)
        while self.progress.epoch < self._plan.epochs and self.progress.stale < self._train.patience:
            epoch = self.progress.epoch + 1
            learned = self._epoch(epoch, batches, keeper)
            current = self._shipped()
            with keeper.validating():
                validation = self._validate(current)
            better = self.progress.end_epoch(validation.losses["total"])
            log(_row(epoch, learned, validation))
            print(_line(self._plan, epoch, learned, validation, better=better), flush=True)
            if better:
                save(current, epoch, validation)
            keeper.after_epoch()
        if self.progress.stale >= self._train.patience:
            stale = self.progress.stale
            print(f"{self._plan.name}: {stale} epochs without a better validation loss; stopped", flush=True)

    def _epoch(self, epoch: int, batches: Iterator[Batch], keeper: Keeper) -> dict[str, float]:
        """The steps that an epoch still lacks → its mean losses, mean gradient norm and last learning rate."""
        self._model.train()
        first = (epoch - 1) * self._epoch_steps
        title = f"{self._plan.name} {epoch}/{self._plan.epochs}"
        done = self.progress.step - first
        with tqdm(
            total=self._epoch_steps, initial=done, desc=title, leave=False, disable=None, dynamic_ncols=True
        ) as bar:
            for step in range(done + 1, self._epoch_steps + 1):
                lr = float(self._schedule.get_last_lr()[0])
                self.progress.add(self._step(next(batches).to(self._device)), lr)
                if step % REFRESH == 0 or step == self._epoch_steps:
                    means = self.progress.means(step)
                    self._check(means, epoch, step)
                    bar.set_postfix_str(
                        " ".join(f"{name} {means[name]:.3f}" for name in ("seg", "det", "cls") if name in means)
                    )
                    bar.update(step - bar.n)
                keeper.after_step()
        return self.progress.means(self._epoch_steps) | {"lr": self.progress.lr}

    def _step(self, batch: Batch) -> dict[str, Tensor]:
        """One optimiser step over one batch of each task, through the backbone once; losses stay on the device."""
        tasks = self._model.tasks
        images = torch.cat([batch.images[task] for task in tasks])
        with self._precision.autocast():
            outputs = self._model(images, tasks, {task: len(batch.images[task]) for task in tasks})
        losses = task_losses(batch_terms(outputs, batch, self._points, self._loss), self._loss)
        scaler = self._precision.scaler
        self._optimizer.zero_grad(set_to_none=True)
        scaler.scale(losses["total"]).backward()
        scaler.unscale_(self._optimizer)
        trained = [parameter for group in self._optimizer.param_groups for parameter in group["params"]]
        limit = math.inf if self._train.grad_clip is None else self._train.grad_clip
        grad_norm = torch.nn.utils.clip_grad_norm_(trained, limit)
        scaler.step(self._optimizer)
        scaler.update()
        self._schedule.step()
        if self._average is not None:
            self._average.update_parameters(self._model)
        return {name: value.detach() for name, value in losses.items()} | {"grad_norm": grad_norm.detach()}

    def _shipped(self) -> MultiTaskModel:
        """The averaged model where there is one: what is validated is what is kept."""
        return self._model if self._average is None else cast(MultiTaskModel, self._average.module)

    def _validate(self, model: MultiTaskModel) -> Validation:
        return validate(
            model,
            self._sets,
            self._loss,
            points=self._points,
            batch_size=2 * self._train.batch_size,
            autocast=self._precision.autocast,
        )

    def _check(self, means: dict[str, float], epoch: int, step: int) -> None:
        """Stop at losses that are not finite: sums that met one NaN stay NaN."""
        found = {name: means[name] for name in LOSSES if name in means}
        if all(map(math.isfinite, found.values())):
            return
        listed = ", ".join(f"{name} {value:.4g}" for name, value in found.items())
        raise TrainingError(
            f"{self._plan.name}, epoch {epoch}: a loss is not finite within {REFRESH} steps before step {step} "
            f"({listed}); lower train.{self._plan.name}.lr or train.grad_clip"
        )


def _row(epoch: int, learned: dict[str, float], validation: Validation) -> Row:
    row: Row = {"epoch": epoch, "lr": learned["lr"], "grad_norm": learned["grad_norm"]}
    # A loss of a task that is not trained is undefined.
    row |= {f"train_{name}": learned.get(name) for name in LOSSES}
    row |= {f"val_{name}": validation.losses.get(name) for name in LOSSES}
    return row | {"miou": validation.miou, "map50": validation.map50, "accuracy": validation.accuracy}


def _line(plan: Plan, epoch: int, learned: dict[str, float], validation: Validation, *, better: bool) -> str:
    """One epoch in at most 80 columns; a star marks the best so far."""
    metrics: dict[str, Any] = {"mIoU": validation.miou, "mAP": validation.map50, "acc": validation.accuracy}
    shown = " ".join(f"{name} {'-' if value is None else format(value, '.3f')}" for name, value in metrics.items())
    losses = f"train {learned['total']:.3f} val {validation.losses['total']:.3f}"
    return f"{plan.name} {epoch:>3}/{plan.epochs} {losses} {shown}{' *' if better else ''}"
