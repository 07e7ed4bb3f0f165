"""Loss terms: each is a sum and what it is divided by, so that parts of a batch add up exactly."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from panvision.training.data.batches import NO_OBJECT
from panvision.training.losses.targets import Points
from panvision.training.settings import LossSettings


@dataclass(frozen=True)
class Term:
    """One loss as a sum over samples, locations or pixels.

    Attributes:
        total: () float32, the sum.
        count: () float32, what the sum is divided by.
    """

    total: Tensor
    count: Tensor

    def mean(self) -> Tensor:
        """Return () float32; a term without anything to count is 0 and still has a gradient."""
        return self.part_of(self.count)

    def part_of(self, count: Tensor) -> Tensor:
        """Return () float32: what this part adds to the mean over a whole that counts `count`."""
        return self.total / count.clamp(min=1.0)

    def __add__(self, other: "Term") -> "Term":
        return Term(self.total + other.total, self.count + other.count)


# Terms by name.
Terms = dict[str, Term]
# Labels of a dataset's batch by name.
Labels = Mapping[str, Tensor]


class LossContext(NamedTuple):
    """Inputs of the losses other than outputs and labels.

    Attributes:
        points: the FCOS locations of the model.
        settings: forms and weights of the losses.
        places: (C,) int64, the place of each class label in `classification.order`; None if `loss.ordinal` is 0.
        mask_class: index of the detection class that is the segmented object; NO_OBJECT: none is.
    """

    points: Points
    settings: LossSettings
    places: Tensor | None = None
    mask_class: int = NO_OBJECT


@dataclass(frozen=True)
class TaskLoss:
    """One row of the table of losses.

    Attributes:
        terms: names of the task's terms. Its loss is their sum; a single term has the name of the loss.
        compute: head output and labels of B images → the terms.
        count: labels of B images → what each term is divided by, () float32 each. It follows from the labels alone.
        crossed: losses of the same head on other datasets' images and labels, by dataset, with separate terms that
            add to the task's loss; used with `loss.mask_class`.
        averaged: divide by a running average of the counts in training: a batch may have very few.
    """

    terms: tuple[str, ...]
    averaged: bool = field(default=False, kw_only=True)
    compute: Callable[[Any, Labels, LossContext], Terms]
    count: Callable[[Labels, LossContext], dict[str, Tensor]]
    crossed: "Mapping[str, TaskLoss]" = field(default_factory=dict, kw_only=True)

    @property
    def all_terms(self) -> tuple[str, ...]:
        """Names of the terms on all datasets."""
        return (*self.terms, *(name for loss in self.crossed.values() for name in loss.terms))


class CountAverage:
    """Running average of the counts of some terms: a ← 0.9 · a + 0.1 · count, starting with the first count.

    A batch with few positive locations would otherwise weight each false alarm in it many times as much as others do.
    detectron2's FCOS does the same (`fcos.py`, `_ema_update("loss_normalizer", …)`). Nothing waits for a GPU.
    """

    MOMENTUM = 0.9

    def __init__(self, names: Collection[str]) -> None:
        self._names = frozenset(names)
        self._averages: dict[str, Tensor] = {}

    def update(self, counts: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Take in the counts of one whole batch, () each, and return those to divide by."""
        for name in self._names & counts.keys():
            count = counts[name].clamp(min=1.0)
            if name in self._averages:
                count = self._averages[name].to(count.device).lerp(count, 1 - self.MOMENTUM)
            self._averages[name] = count
        return self.divisors(counts)

    def divisors(self, counts: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the counts of one whole batch, with the averages so far in place of those that are averaged."""
        return {name: self._averages.get(name, count) for name, count in counts.items()}

    def state_dict(self) -> dict[str, Tensor]:
        """Return the averages by name."""
        return dict(self._averages)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `state_dict` returned."""
        self._averages = dict(state)


def constant(number: int, like: Tensor) -> Tensor:
    """Return a number as () float32 on the device of a tensor, without a copy from the CPU."""
    return torch.full((), float(number), device=like.device)
