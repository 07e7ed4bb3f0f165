"""Hooks that `fit` calls: the best model and the curves, experiment tracking, training checkpoints."""

import copy
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch

from panvision.core.files import remove_partials, replacing
from panvision.model.checkpoint import pack_checkpoint
from panvision.model.multitask import MultiTaskModel
from panvision.training.checkpointing import Document, SaveTimer, TrainingCheckpoints
from panvision.training.curves import Row, write_curves
from panvision.training.stopping import Interrupted, Stop
from panvision.training.tracking import Tracker
from panvision.training.validation import Validation

if TYPE_CHECKING:
    from panvision.training.state import TrainState


@dataclass(frozen=True)
class EpochResult:
    """Results of an epoch.

    Attributes:
        row: its row of the curves; None for a phase without epochs.
        validation: of the model that is kept.
        kept: true if the phase keeps this model, unless a later one is kept.
    """

    row: Row | None
    validation: Validation
    kept: bool


class Hook:
    """Base of hooks; every method does nothing unless a subclass overrides it."""

    def after_step(self, state: "TrainState") -> None:
        """Called after every optimiser step."""

    def between_batches(self, state: "TrainState") -> None:
        """Called before every batch of a validation, by all ranks equally often; the state is unchanged by it."""

    def after_epoch(self, state: "TrainState", result: EpochResult) -> None:
        """Called when an epoch has been validated."""


class BestModel(Hook):
    """Keeps the curves and the best model of a phase in the CPU's memory.

    Args:
        phase: its name, as in the checkpoint's metadata.
        meta: further metadata of the checkpoint.

    Attributes:
        rows: one per epoch.
    """

    def __init__(self, phase: str, meta: Mapping[str, Any] = MappingProxyType({})) -> None:
        self._phase, self._further = phase, meta
        self.rows: list[Row] = []
        self._weights: dict[str, torch.Tensor] = {}
        self._meta: dict[str, Any] = {}

    def after_epoch(self, state: "TrainState", result: EpochResult) -> None:
        """Add the epoch's row, and copy the model if it is to be kept."""
        if result.row is not None:
            self.rows.append(result.row)
        if result.kept:
            found = result.validation
            validation = {**found.metrics, "losses": found.losses}
            self._meta = {"phase": self._phase, "epoch": state.epoch, "validation": validation}
            self._meta["calibration"] = found.calibration
            weights = state.shipped.state_dict()
            self._weights = {name: value.detach().cpu().clone() for name, value in weights.items()}

    def pack(self, model: MultiTaskModel, described: Mapping[str, Any]) -> bytes:
        """Return the checkpoint of the best model.

        Args:
            model: of its shape; not changed.
            described: settings that the checkpoint records.
        """
        best = copy.deepcopy(model).cpu()
        best.load_state_dict(self._weights)
        return pack_checkpoint(best, meta={**self._further, **self._meta, "config": described})

    def write(self, packed: bytes, *, checkpoint: str | Path, curves: str | Path) -> None:
        """Write a phase's two outputs, each whole or not at all, and remove what killed writers left beside them.

        Raises:
            OSError: one of them cannot be written.
        """
        remove_partials(checkpoint)
        remove_partials(curves)
        with replacing(checkpoint, durable=True) as scratch:
            scratch.write_bytes(packed)
        write_curves(curves, self.rows)

    def state_dict(self) -> dict[str, Any]:
        """Return tensors and plain values; JSON turns NumPy's numbers into plain ones."""
        return {"weights": self._weights, **json.loads(json.dumps({"rows": self.rows, "meta": self._meta}))}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self._weights, self._meta, self.rows = state["weights"], state["meta"], list(state["rows"])


class Tracking(Hook):
    """Logs every epoch to a tracker."""

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker

    def after_epoch(self, state: "TrainState", result: EpochResult) -> None:
        """Log the row."""
        if result.row is not None:
            self._tracker.log(result.row)


class Saving(Hook):
    """Saves training checkpoints when they are due and after epochs, and stops the training when a signal asks for it.

    A signal to one rank stops all of them at the same step.

    Args:
        phase: its name, for messages.
        checkpoints: where to save; None on all ranks but the first, whose state is that of all.
        document: makes the checkpoint.
        timer: says when one is due.
        stop: the signals.
    """

    def __init__(
        self,
        phase: str,
        checkpoints: TrainingCheckpoints | None,
        document: Callable[[], Document],
        *,
        timer: SaveTimer,
        stop: Stop,
    ) -> None:
        self._phase, self._checkpoints, self._document = phase, checkpoints, document
        self._timer, self._stop = timer, stop

    def after_step(self, state: "TrainState") -> None:
        """Save if it is time; raise Interrupted if a signal came."""
        self._leave_if_asked(state)
        if self._timer.due(state.step):
            self._save(state)

    def between_batches(self, state: "TrainState") -> None:
        """Raise Interrupted if a signal came; a validation changes nothing, so it need not end."""
        self._leave_if_asked(state)

    def after_epoch(self, state: "TrainState", result: EpochResult) -> None:
        """Save."""
        self._save(state)

    def _save(self, state: "TrainState") -> bool:
        self._timer.restart(state.step)
        if self._checkpoints is None:
            return True
        return self._checkpoints.save(self._document(), step=state.step, epoch=state.epoch)

    def _leave_if_asked(self, state: "TrainState") -> None:
        if reason := self._stop.requested():
            saved = "training checkpoint saved" if self._save(state) else "training checkpoint NOT saved"
            raise Interrupted(
                f"{self._phase}: stopped by {reason} after step {state.step}, {saved}; "
                "the same command, or `dvc repro`, resumes from there"
            )
