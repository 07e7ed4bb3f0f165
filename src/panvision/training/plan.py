"""The plan of a phase: everything that does not change while it runs."""

import math
from dataclasses import dataclass

from panvision.model.multitask import MultiTaskModel
from panvision.training.data.sets import Sets
from panvision.training.data.settings import AugmentSettings
from panvision.training.data.stream import TrainingStream
from panvision.training.ddp import Ranks
from panvision.training.losses.terms import LossContext
from panvision.training.settings import LossSettings, TrainSettings
from panvision.training.targets import make_points


@dataclass(frozen=True)
class Phase:
    """One phase of training.

    Attributes:
        name: `phase1` or `phase2`.
        epochs: at most this many.
        lr: peak learning rate; `backbone_lr` is the backbone's, None is `lr`.
        seed: decides the batches.
        sets: what to learn from and what to validate on.
        augment, loss, train: the settings.
        ranks: the processes that train together, each on its shard of every batch.
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
    backbone_lr: float | None = None

    def datasets(self, model: MultiTaskModel) -> dict[str, int]:
        """Return the datasets that the model's tasks learn from, with their number of training images."""
        rows = self.sets.split("train", model.tasks)
        return {dataset: len(of_dataset) for dataset, of_dataset in rows.items()}

    def epoch_steps(self, model: MultiTaskModel) -> int:
        """Return the optimiser steps of an epoch: by default one pass over the largest dataset."""
        images = self.train.batch_size * self.train.accumulate
        return self.train.epoch_steps or math.ceil(max(self.datasets(model).values()) / images)

    def stream(self, model: MultiTaskModel, rank: int) -> TrainingStream:
        """Return a rank's shard of every batch."""
        return TrainingStream(
            self.sets.packed,
            self.sets.split("train", model.tasks),
            self.augment,
            batch_size=self.train.batch_size,
            seed=self.seed,
            part=(rank, self.ranks.size),
        )

    def context(self, model: MultiTaskModel) -> LossContext:
        """Return what the losses need, on the model's device."""
        points = make_points(model.image_size, model.settings.strides).to(self.ranks.device)
        return LossContext(points, self.loss)
