"""Figures of optimiser steps, kept on the device: the first that is not finite, and the means of an epoch."""

import textwrap
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

# Columns of a message, so that a terminal shows it as it was written.
WIDTH = 80


@dataclass(frozen=True)
class BadStep:
    """An optimiser step some of whose figures were not finite.

    Attributes:
        step: its number in the phase, from 0.
        values: every figure of the step by name.
    """

    step: int
    values: dict[str, float]


class FiniteWatch:
    """Remembers the first step with a figure that is not finite; only `look` makes a GPU wait.

    Between two looks it is tensors on the device; a look that finds nothing leaves it as new. So there is nothing
    to save, if one looks before saving.
    """

    def __init__(self) -> None:
        self._first: Tensor | None = None  # () int64, -1: none so far
        self._values = torch.empty(0)  # (n,) float32, the figures of that step
        self._names: tuple[str, ...] = ()

    def note(self, step: int, values: Mapping[str, Tensor], *, excused: Collection[str] = ()) -> None:
        """Take note of one step without waiting for the device.

        Args:
            step: its number in the phase, from 0.
            values: () figures by name, the same names at every step, on one device.
            excused: names of figures that are told, but may be anything.
        """
        self._names = tuple(values)
        figures = torch.stack([value.detach().float() for value in values.values()])  # (n,)
        if self._first is None:
            self._first = torch.full((), -1, dtype=torch.int64, device=figures.device)
            self._values = torch.zeros_like(figures)
        judged = torch.stack([values[name].detach().float() for name in self._names if name not in excused])
        news = (self._first < 0) & ~judged.isfinite().all()
        # A kernel that fills, not a copy from the CPU, which would wait.
        self._first = torch.where(news, torch.full_like(self._first, step), self._first)
        self._values = torch.where(news, figures, self._values)

    def look(self) -> BadStep | None:
        """The first bad step so far, None if there was none; waits for the device."""
        if self._first is None or (step := int(self._first)) < 0:
            return None
        return BadStep(step, dict(zip(self._names, self._values.tolist(), strict=True)))


class Means:
    """Means over steps of figures on the device, of each figure over the steps in which it was finite."""

    def __init__(self) -> None:
        self._names: tuple[str, ...] = ()
        self._sums, self._counts = torch.zeros(0), torch.zeros(0)  # (n,) float32, (n,) int64

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Add one step's () figures, the same names at every step; does not wait for the device."""
        figures = torch.stack([value.detach().float() for value in values.values()])  # (n,)
        finite = figures.isfinite()
        if not self._names:
            self._names = tuple(values)
            self._sums, self._counts = torch.zeros_like(figures), torch.zeros_like(finite, dtype=torch.int64)
        self._sums = self._sums + figures.where(finite, 0.0)
        self._counts = self._counts + finite

    def read(self) -> dict[str, float]:
        """The means by name, without those that no step had; waits for the device."""
        read = zip(self._names, self._sums.tolist(), self._counts.tolist(), strict=True)
        return {name: total / count for name, total, count in read if count}

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` goes on from."""
        return {"names": list(self._names), "sums": self._sums, "counts": self._counts}

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        """Go on where other means were, on a device."""
        self._names = tuple(state["names"])
        self._sums, self._counts = state["sums"].to(device), state["counts"].to(device)


def describe(values: Mapping[str, float], files: Mapping[str, Collection[str]]) -> str:
    """Figures and files for a message, in lines of at most 80 columns where no single name is longer.

    Args:
        values: figures by name.
        files: the batch's files by task.
    """
    figures = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
    lines = [_wrapped(figures, first="  ")]
    lines += [_wrapped(", ".join(names), first=f"  {task}: ") for task, names in files.items()]
    return "\n".join(lines)


def _wrapped(text: str, *, first: str) -> str:
    return textwrap.fill(
        text, WIDTH, initial_indent=first, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
    )
