"""Warm start: first weights from a whole checkpoint of panvision, made for an earlier dataset."""

import torch
from torch import Tensor

from panvision.core.tasks import TASKS
from panvision.model.heads import HEADS
from panvision.model.multitask import MultiTaskModel
from panvision.model.settings import ModelSettings

# Keys of the `model` section in which the two networks may differ: they change no weight's shape or meaning.
_FREE = ("weights", "dropout")


def differing_keys(settings: ModelSettings, earlier: ModelSettings) -> str:
    """Return the keys in which the checkpoint's network is another one, as `model.KEY THEIRS (here OURS)`; or ""."""
    pairs = {key: (getattr(settings, key), getattr(earlier, key)) for key in ModelSettings.model_fields}
    return ", ".join(
        f"model.{key} {_plain(theirs)} (here {_plain(ours)})"
        for key, (ours, theirs) in pairs.items()
        if key not in _FREE and ours != theirs
    )


def warm_start(model: MultiTaskModel, earlier: MultiTaskModel) -> list[str]:
    """Copy the weights of another model of the same network: backbone, FPN and heads.

    Rows of the layers with one row per class are copied by class name. New classes, and parts that `earlier` lacks,
    keep their first weights.

    Args:
        model: receives the weights.
        earlier: has no `differing_keys`.

    Returns:
        Lines for the log: what was copied, and what keeps its first weights, if anything does.
    """
    own, found = model.state_dict(), earlier.state_dict()
    new: list[str] = []
    for task, spec in HEADS.items():
        if spec.class_layer and task in model.tasks and task in earlier.tasks:
            dataset = TASKS[task].dataset
            before, now = earlier.classes[dataset], model.classes[dataset]
            for kind in ("weight", "bias"):
                name = f"{task}.{spec.class_layer}.{kind}"
                found[name] = _rows_by_name(found[name], before, own[name], now)
            new += [f"{task} class {name}" for name in now if name not in before]
    taken = {name: value for name, value in found.items() if name in own}
    model.load_state_dict(taken, strict=False)
    parts = [name for name, _ in model.named_children()]
    copied = [part for part in parts if any(name.startswith(f"{part}.") for name in taken)]
    new = [part for part in parts if part not in copied] + new
    lines = [f"{len(taken)} tensors of {', '.join(copied)}"]
    return [*lines, f"new, with random first weights: {', '.join(new)}"] if new else lines


def _rows_by_name(found: Tensor, before: list[str], own: Tensor, now: list[str]) -> Tensor:
    """Return (len(now), ...): the rows of `found` (len(before), ...) by name, and those of `own` for new names."""
    return torch.stack([found[before.index(name)] if name in before else own[row] for row, name in enumerate(now)])


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
