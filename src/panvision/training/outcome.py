"""What a phase leaves behind: in memory, and in its state, until the phase ends."""

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from panvision.core.files import remove_partials, replacing
from panvision.model.checkpoint import pack_checkpoint
from panvision.model.multitask import MultiTaskModel
from panvision.training.curves import Row, write_curves
from panvision.training.validation import Validation


class Outcome:
    """Curves and the best model of a phase.

    Args:
        phase: its name, for the checkpoint's metadata.

    Attributes:
        rows: one per epoch.
    """

    def __init__(self, phase: str) -> None:
        self._phase = phase
        self.rows: list[Row] = []
        self._weights: dict[str, torch.Tensor] = {}
        self._meta: dict[str, Any] = {}

    def keep(self, model: MultiTaskModel, epoch: int, validation: Validation) -> None:
        """Copy the best model so far to the CPU's memory."""
        metrics = {"miou": validation.miou, "map50": validation.map50, "accuracy": validation.accuracy}
        self._meta = {"phase": self._phase, "epoch": epoch, "validation": {**metrics, "losses": validation.losses}}
        self._weights = {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}

    def pack(self, model: MultiTaskModel, described: Mapping[str, Any]) -> bytes:
        """The checkpoint of the best model.

        Args:
            model: of its shape; left as it is.
            described: settings to go with it.
        """
        best = copy.deepcopy(model).cpu()
        best.load_state_dict(self._weights)
        return pack_checkpoint(best, meta={**self._meta, "config": described})

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values: by way of JSON, NumPy's numbers become plain ones."""
        return {"weights": self._weights, **json.loads(json.dumps({"rows": self.rows, "meta": self._meta}))}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Stand as `state_dict` was taken."""
        self._weights, self._meta, self.rows = state["weights"], state["meta"], list(state["rows"])


def write_outputs(packed: bytes, rows: list[Row], *, checkpoint: str | Path, curves: str | Path) -> None:
    """Write a phase's two outputs, each whole or not at all, and clear up beside them after killed writers.

    Raises:
        OSError: one of them cannot be written.
    """
    remove_partials(checkpoint)
    remove_partials(curves)
    with replacing(checkpoint, durable=True) as scratch:
        scratch.write_bytes(packed)
    write_curves(curves, rows)
