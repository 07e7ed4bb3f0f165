"""Guards around the training steps: values that are not finite, full memory, a model that cannot be compiled."""

import contextlib
import math
import textwrap
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from panvision.training.settings import TrainSettings

if TYPE_CHECKING:
    from panvision.training.state import Phase, TrainState

# Columns of a message in a terminal.
WIDTH = 80
# Packages in which PyTorch's compiler defines its errors.
COMPILERS = ("torch._dynamo", "torch._inductor")


class TrainingError(RuntimeError):
    """Training cannot continue; the message says what happened and what to change."""


@dataclass(frozen=True)
class BadStep:
    """An optimiser step with a value that was not finite.

    Attributes:
        step: its number in the phase, from 0.
        values: every value of the step by name.
    """

    step: int
    values: dict[str, float]


class FiniteGuard:
    """Remembers the first step with a value that is not finite. Only `find` waits for a GPU.

    Between two calls of `find` everything stays on the device. A call that finds nothing leaves no state, so there is
    nothing to save if `find` is called before saving.
    """

    def __init__(self) -> None:
        self._first: Tensor | None = None  # () int64, -1: none so far
        self._values = torch.empty(0)  # (n,) float32, the values of that step
        self._names: tuple[str, ...] = ()

    def note(self, step: int, values: Mapping[str, Tensor], *, excused: Collection[str] = ()) -> None:
        """Record one step without waiting for the device.

        Args:
            step: its number in the phase, from 0.
            values: () values by name, the same names at every step, on one device.
            excused: names of values that are reported, but may be anything.
        """
        self._names = tuple(values)
        found = torch.stack([value.detach().float() for value in values.values()])  # (n,)
        if self._first is None:
            self._first = torch.full((), -1, dtype=torch.int64, device=found.device)
            self._values = torch.zeros_like(found)
        checked = torch.stack([values[name].detach().float() for name in self._names if name not in excused])
        is_first = (self._first < 0) & ~checked.isfinite().all()
        # A kernel that fills, not a copy from the CPU, which would wait.
        self._first = torch.where(is_first, torch.full_like(self._first, step), self._first)
        self._values = torch.where(is_first, found, self._values)

    def find(self) -> BadStep | None:
        """Return the first bad step so far, None if there is none; waits for the device."""
        if self._first is None or (step := int(self._first)) < 0:
            return None
        return BadStep(step, dict(zip(self._names, self._values.tolist(), strict=True)))


class Means:
    """Means over steps of values on the device, of each value over the steps in which it was finite."""

    def __init__(self) -> None:
        self._names: tuple[str, ...] = ()
        self._sums, self._counts = torch.zeros(0), torch.zeros(0)  # (n,) float32, (n,) int64

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Add one step's () values, the same names at every step; does not wait for the device."""
        found = torch.stack([value.detach().float() for value in values.values()])  # (n,)
        finite = found.isfinite()
        if not self._names:
            self._names = tuple(values)
            self._sums, self._counts = torch.zeros_like(found), torch.zeros_like(finite, dtype=torch.int64)
        # A resumed epoch's sums come from the CPU.
        self._sums = self._sums.to(found.device) + found.where(finite, 0.0)
        self._counts = self._counts.to(found.device) + finite

    def read(self) -> dict[str, float]:
        """Return the means by name, without values that were never finite; waits for the device."""
        read = zip(self._names, self._sums.tolist(), self._counts.tolist(), strict=True)
        return {name: total / count for name, total, count in read if count}

    def state_dict(self) -> dict[str, Any]:
        """Return the sums as tensors and plain values."""
        return {"names": list(self._names), "sums": self._sums, "counts": self._counts}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self._names = tuple(state["names"])
        self._sums, self._counts = state["sums"], state["counts"]


def describe(values: Mapping[str, float], files: Mapping[str, Collection[str]]) -> str:
    """Return values and files for a message, in lines of at most 80 columns unless a single name is longer.

    Args:
        values: by name.
        files: the batch's files by dataset.
    """
    listed = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
    lines = [_wrapped(listed, first="  ")]
    lines += [_wrapped(", ".join(names), first=f"  {dataset}: ") for dataset, names in files.items()]
    return "\n".join(lines)


def check_finite(state: "TrainState", phase: "Phase") -> None:
    """Raise TrainingError if a value of a step since the last check was not finite, naming that step's files."""
    bad = state.guard.find()
    if bad is None:
        return
    steps, accumulate = phase.epoch_steps(state.model), phase.train.accumulate
    epoch, step = divmod(bad.step, steps)
    # A shard is at fault where its own losses are not finite; all are, where only the sum is not.
    at_fault = [rank for rank in range(phase.ranks.size) if bad.values.get(f"rank {rank}")]
    streams = [phase.stream(state.model, rank) for rank in at_fault or range(phase.ranks.size)]
    numbers = range(bad.step * accumulate, (bad.step + 1) * accumulate)
    found = [stream[number] for stream in streams for number in numbers]
    files = {
        dataset: [phase.sets.packed[dataset].files[row] for batch in found for row in batch.rows[dataset]]
        for dataset in found[0].rows
    }
    place = f"{phase.name}, epoch {epoch + 1}, step {step + 1} of {steps}"
    if at_fault:
        place += f", rank {', '.join(map(str, at_fault))}"
    values = {name: value for name, value in bad.values.items() if not name.startswith("rank ")}
    finite = all(math.isfinite(value) for name, value in values.items() if name != "grad_norm")
    what = "the gradient" if finite else "a loss"
    raise TrainingError(
        f"{place}: {what} is not finite\n{describe(values, files)}\n"
        f"lower train.{phase.name}.lr or train.grad_clip; look at these files and their labels"
    )


def excused_values(scaler: torch.amp.GradScaler) -> tuple[str, ...]:
    """Return the values that need not be finite now; waits for the device.

    Float16's scaler skips steps whose scaled gradient overflows. Below 1 its scale makes gradients smaller, so what is
    not finite then was not finite without it.
    """
    return ("grad_norm",) if scaler.is_enabled() and scaler.get_scale() >= 1.0 else ()


def validation_not_finite(
    phase: str, values: Mapping[str, float], files: Mapping[str, Collection[str]]
) -> TrainingError:
    """Return the error of a validation loss that is not finite."""
    return TrainingError(
        f"{phase}: the validation loss is not finite\n{describe(values, files)}\n"
        f"lower train.{phase}.lr or train.grad_clip; look at these files"
    )


@contextlib.contextmanager
def explained_errors(phase: str, train: TrainSettings, *, devices: int, image_size: int) -> Iterator[None]:
    """Turn PyTorch's errors about memory and its compiler into a TrainingError that names the params to change.

    Args:
        phase: its name.
        train: the settings.
        devices: number of devices that share a batch.
        image_size: side of the images in pixels.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise TrainingError(_out_of_memory(phase, train, devices, image_size)) from error
    except RuntimeError as error:
        if train.compile and type(error).__module__.startswith(COMPILERS):
            reason = str(error).strip().splitlines()[0]
            raise TrainingError(
                f"{phase}: the model cannot be compiled ({reason}); set train.compile to false"
            ) from error
        raise


def _out_of_memory(phase: str, train: TrainSettings, devices: int, image_size: int) -> str:
    shared = "" if devices == 1 else f" over {devices} devices"
    remedies = [
        f"lower train.batch_size (now {train.batch_size} per dataset{shared})",
        f"  and raise train.accumulate (now {train.accumulate}) by the same factor: the gradient",
        "  stays that of the whole batch",
        f"or lower data.image_size (now {image_size})",
    ]
    if train.amp == "off":
        remedies.append("or set train.amp to auto: half precision needs about half the memory")
    if devices < torch.cuda.device_count():
        remedies.append(f"or raise train.devices (now {devices}): the GPUs share the batch")
    return "\n".join([f"{phase}: the batch does not fit the GPU's memory;", *remedies])


def _wrapped(text: str, *, first: str) -> str:
    return textwrap.fill(
        text, WIDTH, initial_indent=first, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
    )
