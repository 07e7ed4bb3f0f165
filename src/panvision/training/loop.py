"""The training loop of one phase: steps, validation, the best model, early stopping."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from panvision.model.multitask import MultiTaskModel, Outputs
from panvision.training.average import MovingAverage
from panvision.training.curves import LOSSES, SEEN, WEIGHTS, Row
from panvision.training.data.batches import Batch
from panvision.training.data.sets import Sets
from panvision.training.data.settings import AugmentSettings
from panvision.training.data.stream import TrainingStream, training_batches
from panvision.training.distributed import Alone, Ranks
from panvision.training.errors import TrainingError
from panvision.training.finite import FiniteWatch, describe
from panvision.training.keeping import Keeper, NoKeeper
from panvision.training.losses import batch_terms, task_losses, whole_counts
from panvision.training.optimisation import Precision, make_optimizer, trained_weights
from panvision.training.progress import Progress, Stateful
from panvision.training.repeat import random_state, restore_random_state
from panvision.training.schedule import Schedule
from panvision.training.settings import LossSettings, TrainSettings
from panvision.training.targets import Points, make_points
from panvision.training.validation import Validation, validate
from panvision.training.weighting import TaskWeights

# Steps between two looks at the losses: each look makes a GPU wait.
REFRESH = 10

SaveModel = Callable[[MultiTaskModel, int, Validation], None]


@dataclass(frozen=True)
class Plan:
    """What a phase is.

    Attributes:
        name: `phase1` or `phase2`.
        epochs: at most so many.
        lr: peak learning rate.
        seed: decides the batches.
        backbone_lr: the backbone's peak learning rate, None is `lr`.
    """

    name: str
    epochs: int
    lr: float
    seed: int
    backbone_lr: float | None = None


class Phase:
    """One phase of training.

    Args:
        model: on its device, frozen as the phase wants it.
        sets: what to learn from and what to validate on.
        plan: epochs and learning rate.
        augment: changes of the training images.
        loss: forms and weights of the losses.
        train: batch size and everything else of the `train` section that both phases read.
        ranks: who trains it together, each on its share of every batch; by default this process alone.

    Raises:
        TrainingError: the phase is shorter than its warm-up.
        ParamsError: the ranks cannot share a batch evenly.
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
        ranks: Ranks | None = None,
    ) -> None:
        self._model, self._sets, self._plan, self._loss, self._train = model, sets, plan, loss, train
        self._ranks = ranks or Alone()
        self._share = train.share(self._ranks.size)
        self._device = model.pixel_mean.device
        rows = sets.split("train", model.tasks)
        self._set_sizes = {task: len(of_task) for task, of_task in rows.items()}
        step_images = train.batch_size * train.accumulate
        self._epoch_steps = train.epoch_steps or math.ceil(max(self._set_sizes.values()) / step_images)
        steps = plan.epochs * self._epoch_steps
        if plan.epochs and train.warmup_steps >= steps:
            raise TrainingError(
                f"{plan.name}: train.warmup_steps is {train.warmup_steps}, but the phase has {steps} optimiser steps; "
                f"lower it, or raise train.{plan.name}.epochs"
            )
        self._augment = augment
        self._stream = self._stream_of(self._ranks.rank)
        self._points: Points = make_points(model.image_size, model.settings.strides).to(self._device)
        # Validation's model is not compiled: it would be a second compilation, for passes that are few.
        self._forward: Callable[..., Outputs] = torch.compile(model, dynamic=False) if train.compile else model
        self._trained = trained_weights(model)
        self._weights = TaskWeights(loss).to(self._device)
        self._optimizer = make_optimizer(
            model,
            plan.lr,
            train.weight_decay,
            backbone_lr=plan.backbone_lr,
            loss_weights=self._weights.parameters(),
        )
        self._schedule = Schedule(self._optimizer, train, plan.lr, max(1, steps))
        self._precision = Precision(self._device, train.amp)
        self._average = MovingAverage(model, train.ema_decay) if train.ema_decay else None
        self._watch = FiniteWatch()
        # By rank, of the last step: () float32, 1 where its own losses or gradients were not finite.
        self._unsound: dict[str, Tensor] = {}
        # A CPU has nothing to wait for.
        self._look_every = 1 if self._device.type == "cpu" else REFRESH
        self.progress = Progress()
        self._random: dict[str, Any] | None = None
        # By name, everything else that a step changes.
        self._stateful: dict[str, Stateful] = {
            "model": model,
            "optimizer": self._optimizer,
            "schedule": self._schedule,
            "scaler": self._precision.scaler,
            "loss_weights": self._weights,
        }
        if self._average is not None:
            self._stateful["average"] = self._average

    def _stream_of(self, rank: int) -> TrainingStream:
        """A rank's share of every batch."""
        return TrainingStream(
            self._sets.packed,
            self._sets.split("train", self._model.tasks),
            self._augment,
            batch_size=self._train.batch_size,
            seed=self._plan.seed,
            part=(rank, self._ranks.size),
        )

    @property
    def image_size(self) -> int:
        """Side of the images in pixels."""
        return self._model.image_size

    @property
    def device(self) -> torch.device:
        """Where the phase computes."""
        return self._device

    def state_dict(self) -> dict[str, Any]:
        """All that the rest of the phase depends on, as tensors and plain values.

        Raises:
            TrainingError: a figure of a step before was not finite; such a state is not worth keeping.
        """
        self._check()
        return {
            "progress": self.progress.state_dict(),
            "objects": {name: value.state_dict() for name, value in self._stateful.items()},
            "random": random_state(self._device),
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
            TrainingError: a loss or a gradient is not finite; the message names the batch's files.
        """
        keeper = keeper or NoKeeper()
        if self._plan.epochs == 0:
            save(self._model, 0, self._validate(self._model, keeper))
            return
        batches = training_batches(
            self._stream,
            start=self.progress.step * self._train.accumulate,
            stop=self._plan.epochs * self._epoch_steps * self._train.accumulate,
            workers=self._train.workers,
            pin_memory=self._device.type == "cuda",
        )
        if self._random is not None:
            # After the loader was made: it draws a number itself.
            restore_random_state(self._random, self._device)
        while self.progress.epoch < self._plan.epochs and self.progress.stale < self._train.patience:
            epoch = self.progress.epoch + 1
            learned = self._epoch(epoch, batches, keeper)
            current = self._shipped()
            validation = self._validate(current, keeper)
            better = self.progress.end_epoch(validation.losses["total"])
            log(_row(epoch, learned, validation))
            self._say(_line(self._plan, epoch, learned, validation, better=better))
            if better:
                save(current, epoch, validation)
            keeper.after_epoch()
        if self.progress.stale >= self._train.patience:
            stale = self.progress.stale
            self._say(f"{self._plan.name}: {stale} epochs without a better validation loss; stopped")

    def _say(self, line: str) -> None:
        if self._ranks.leads:
            print(line, flush=True)

    def _epoch(self, epoch: int, batches: Iterator[Batch], keeper: Keeper) -> dict[str, float]:
        """The steps that an epoch still lacks → its mean losses and gradient norm, last rates, loss weights, passes."""
        self._model.train()
        excused = self._excused()
        progress = self.progress
        done = progress.step - (epoch - 1) * self._epoch_steps
        title = f"{self._plan.name} {epoch}/{self._plan.epochs}"
        with tqdm(
            total=self._epoch_steps,
            initial=done,
            desc=title,
            leave=False,
            disable=None if self._ranks.leads else True,
            dynamic_ncols=True,
        ) as bar:
            for step in range(done + 1, self._epoch_steps + 1):
                rates = self._schedule.rates()
                values = self._step(*(next(batches).to(self._device) for _ in range(self._train.accumulate)))
                self._watch.note(progress.step, values | self._unsound, excused=excused)
                progress.add(values, rates)
                if step % self._look_every == 0 or step == self._epoch_steps:
                    self._check()
                    excused = self._excused()
                if step % REFRESH == 0 or step == self._epoch_steps:
                    learned = progress.means.read()
                    bar.set_postfix_str(
                        " ".join(f"{name} {learned[name]:.3f}" for name in ("seg", "det", "cls") if name in learned)
                    )
                    bar.update(step - bar.n)
                keeper.after_step()
        learned = progress.means.read()
        return learned | progress.rates | self._weights.current(learned) | self._passes(epoch)

    def _step(self, *batches: Batch) -> dict[str, Tensor]:
        """One optimiser step over batches of each task; losses and gradient norm stay on the device."""
        scaler = self._precision.scaler
        self._optimizer.zero_grad(set_to_none=True)
        losses = self._backward(batches)
        self._add_up(losses)
        scaler.unscale_(self._optimizer)
        limit = math.inf if self._train.grad_clip is None else self._train.grad_clip
        grad_norm = torch.nn.utils.clip_grad_norm_(self._trained, limit)
        scaler.step(self._optimizer)
        scaler.update()
        self._schedule.step()
        if self._average is not None:
            self._average.update(self._model)
        return losses | {"grad_norm": grad_norm.detach()}

    def _backward(self, batches: tuple[Batch, ...]) -> dict[str, Tensor]:
        """Gradients and losses of all batches as if they were one; each passes the backbone once, tasks together."""
        tasks = self._model.tasks
        parts = len(batches) * self._ranks.size
        counts = whole_counts(batches, self._points, self._loss) if parts > 1 else None
        if counts is not None:
            self._ranks.add_up(list(counts.values()))
        sums: dict[str, Tensor] = {}
        for batch in batches:
            images = torch.cat([batch.images[task] for task in tasks])
            with self._precision.autocast():
                outputs = self._forward(images, tasks, {task: len(batch.images[task]) for task in tasks})
            losses = task_losses(batch_terms(outputs, batch, self._points, self._loss), self._loss, counts)
            objective = self._weights.objective(losses, parts=parts)
            self._precision.scaler.scale(objective).backward()
            for name, value in losses.items():
                sums[name] = sums[name] + value.detach() if name in sums else value.detach()
        return sums

    def _add_up(self, losses: Mapping[str, Tensor]) -> None:
        """Make gradients and losses those of all ranks' shares together."""
        learned = [*self._trained, *self._weights.parameters()]
        gradients = [each.grad for each in learned if each.grad is not None]
        unsound = self._ranks.add_up([*gradients, *losses.values()])
        self._unsound = {f"rank {rank}": found for rank, found in enumerate(unsound)}

    def _shipped(self) -> MultiTaskModel:
        """The averaged model where there is one: what is validated is what is kept."""
        return self._model if self._average is None else self._average.module

    def _validate(self, model: MultiTaskModel, keeper: Keeper) -> Validation:
        """Its total has the fixed weights even where weights are learned, or epochs could not be compared by it."""
        validation = validate(
            model,
            self._sets,
            self._loss,
            batch_size=2 * self._share,
            autocast=self._precision.autocast,
            ranks=self._ranks,
            between=keeper.during_validation,
        )
        if not math.isfinite(validation.losses["total"]):
            raise TrainingError(
                f"{self._plan.name}: the validation loss is not finite\n"
                f"{describe(validation.losses, validation.unsound)}\n{self._remedy()}; look at these files"
            )
        return validation

    def _excused(self) -> tuple[str, ...]:
        """Figures that need not be finite now."""
        return ("grad_norm",) if self._precision.explains_overflow() else ()

    def _check(self) -> None:
        """Stop if a figure of a step since the last look was not finite, and name that step's files."""
        bad = self._watch.look()
        if bad is None:
            return
        epoch, step = divmod(bad.step, self._epoch_steps)
        first = bad.step * self._train.accumulate
        values = {name: value for name, value in bad.values.items() if name not in self._unsound}
        # A share is at fault where its own figures are not finite; all are, where only the sum is not.
        every = range(self._ranks.size)
        at_fault = [rank for rank in every if bad.values.get(f"rank {rank}")]
        streams = [self._stream_of(rank) for rank in at_fault or every]
        batches = [stream[index] for stream in streams for index in range(first, first + self._train.accumulate)]
        files = {
            task: [self._sets.packed[task].files[row] for batch in batches for row in batch.rows[task]]
            for task in batches[0].rows
        }
        finite = all(math.isfinite(values[name]) for name in LOSSES if name in values)
        what = "the gradient" if finite else "a loss"
        place = f"epoch {epoch + 1}, step {step + 1} of {self._epoch_steps}"
        if at_fault:
            place += f", rank {', '.join(map(str, at_fault))}"
        raise TrainingError(
            f"{self._plan.name}, {place}: {what} is not finite\n"
            f"{describe(values, files)}\n{self._remedy()}; look at these files and their labels"
        )

    def _remedy(self) -> str:
        return f"lower train.{self._plan.name}.lr or train.grad_clip"

    def _passes(self, epoch: int) -> dict[str, float]:
        """How often each training sample was seen up to an epoch's end, on average over its task.

        Every pass over a set ends before its next begins, so each sample's own count is this rounded up or down.
        """
        drawn = epoch * self._epoch_steps * self._train.accumulate * self._train.batch_size
        return {f"seen_{task}": drawn / size for task, size in self._set_sizes.items()}


def _row(epoch: int, learned: dict[str, float], validation: Validation) -> Row:
    row: Row = {"epoch": epoch, "lr": learned["lr"]}
    # None where the backbone is frozen, where float16's scaler skipped every step, and for tasks that are not trained.
    row |= {name: learned.get(name) for name in ("backbone_lr", "grad_norm", *WEIGHTS, *SEEN)}
    row |= {f"train_{name}": learned.get(name) for name in LOSSES}
    row |= {f"val_{name}": validation.losses.get(name) for name in LOSSES}
    return row | {"miou": validation.miou, "map50": validation.map50, "accuracy": validation.accuracy}


def _line(plan: Plan, epoch: int, learned: dict[str, float], validation: Validation, *, better: bool) -> str:
    """One epoch in at most 80 columns; a star marks the best so far."""
    metrics: dict[str, Any] = {"mIoU": validation.miou, "mAP": validation.map50, "acc": validation.accuracy}
    shown = " ".join(f"{name} {'-' if value is None else format(value, '.3f')}" for name, value in metrics.items())
    losses = f"train {learned['total']:.3f} val {validation.losses['total']:.3f}"
    return f"{plan.name} {epoch:>3}/{plan.epochs} {losses} {shown}{' *' if better else ''}"
