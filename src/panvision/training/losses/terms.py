"""Loss terms: each is a sum and what it is divided by, so that parts of a batch add up exactly."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from panvision.training.settings import LossSettings
from panvision.training.targets import Points


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
    """What losses need besides outputs and labels.

    Attributes:
        points: the FCOS locations of the model.
        settings: forms and weights of the losses.
    """

    points: Points
    settings: LossSettings


@dataclass(frozen=True)
class TaskLoss:
    """One row of the table of losses.

    Attributes:
        terms: names of the task's terms. Its loss is their sum; a single term has the name of the loss.
        compute: head output and labels of B images → the terms.
        count: labels of B images → what each term is divided by, () float32 each. It follows from the labels alone.
    """

    terms: tuple[str, ...]
    compute: Callable[[Any, Labels, LossContext], Terms]
    count: Callable[[Labels, LossContext], dict[str, Tensor]]


def constant(number: int, like: Tensor) -> Tensor:
    """Return a number as () float32 on the device of a tensor, without a copy from the CPU."""
    return torch.full((), float(number), device=like.device)
