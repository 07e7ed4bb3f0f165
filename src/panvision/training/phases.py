"""The two phases: heads on a frozen backbone, then everything, each leaving its best model behind."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from panvision.data.sets import Sets
from panvision.data.settings import AugmentSettings
from panvision.model.checkpoint import load_checkpoint, save_checkpoint
from panvision.model.multitask import MultiTaskModel
from panvision.model.settings import ModelSettings
from panvision.model.weights import initialise_backbone
from panvision.params import Settings
from panvision.training.curves import Row, write_curves
from panvision.training.errors import TrainingError
from panvision.training.loop import Phase, Plan
from panvision.training.settings import LossSettings, TrackingSettings, TrainSettings
from panvision.training.tracking import make_tracker
from panvision.training.validation import Validation


@dataclass(frozen=True)
class _Run:
    """One phase's plan, what it is described with, and where it writes to."""

    plan: Plan
    described: dict[str, Any]
    checkpoint: str | Path
    curves: str | Path


@dataclass(frozen=True)
class TrainingConfig:
    """The settings that both phases read, and the seed."""

    seed: int
    augment: AugmentSettings
    loss: LossSettings
    train: TrainSettings
    tracking: TrackingSettings


def pick_device(name: str | None = None) -> torch.device:
    """The device of that name; by default the GPU if there is one.

    Raises:
        TrainingError: there is no such device.
    """
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        # Reserves nothing, but fails here and clearly where the device is not there.
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise TrainingError(f"device {name!r} cannot be used: {str(error).splitlines()[0]}") from error
    return device


def train_phase1(
    sets: Sets,
    config: TrainingConfig,
    model_settings: ModelSettings,
    *,
    checkpoint: str | Path,
    curves: str | Path,
    device: torch.device | None = None,
) -> None:
    """Build the model and train all but its backbone.

    Args:
        sets: packed sets and splits.
        config: how to train.
        model_settings: architecture and first weights.
        checkpoint: receives the best model.
        curves: receives one CSV row per epoch.
        device: by default the GPU if there is one.

    Raises:
        WeightsError: `model.weights` cannot be had.
        TrainingError: a loss is not finite, or the GPU's memory does not suffice.
    """
    torch.manual_seed(config.seed)
    model = MultiTaskModel(
        model_settings, image_size=sets.image_size, det_classes=sets.det_classes, cls_classes=sets.cls_classes
    )
    print(initialise_backbone(model.backbone, model_settings), flush=True)
    model.backbone.freeze(weights=True, batch_norm=True)
    train = config.train
    described = _described(config, without=("phase2", "batch_norm")) | {"model": model_settings.model_dump(mode="json")}
    plan = Plan("phase1", train.phase1.epochs, train.phase1.lr, _phase_seed(config.seed, 1))
    _train(model, sets, config, _Run(plan, described, checkpoint, curves), device)


def train_phase2(
    sets: Sets,
    config: TrainingConfig,
    *,
    start: str | Path,
    checkpoint: str | Path,
    curves: str | Path,
    device: torch.device | None = None,
) -> None:
    """Train phase 1's best model end to end; arguments and errors as for `train_phase1`.

    Args:
        start: the checkpoint that phase 1 left.

    Raises:
        CheckpointError: `start` cannot be used.
        TrainingError: it was made for other classes or another image size, a loss is not finite, or the GPU's
            memory does not suffice.
    """
    model, metadata = load_checkpoint(start)
    _check_fits(model, sets, start)
    train = config.train
    model.backbone.freeze(weights=False, batch_norm=train.batch_norm == "frozen")
    described = {**metadata.get("config", {}), **_described(config, without=("phase1",))}
    described["train"] = {**metadata.get("config", {}).get("train", {}), **described["train"]}
    seed = _phase_seed(config.seed, 2)
    torch.manual_seed(seed)
    plan = Plan("phase2", train.phase2.epochs, train.phase2.lr, seed, backbone_lr=train.phase2.backbone_lr)
    _train(model, sets, config, _Run(plan, described, checkpoint, curves), device)


def _train(model: MultiTaskModel, sets: Sets, config: TrainingConfig, run: _Run, device: torch.device | None) -> None:
    model.to(device or pick_device()).to(memory_format=torch.channels_last)
    tracker = make_tracker(config.tracking, run.plan.name, run.described)
    rows: list[Row] = []
    write_curves(run.curves, rows)

    def log(row: Row) -> None:
        rows.append(row)
        write_curves(run.curves, rows)
        tracker.log(row)

    try:
        phase = Phase(model, sets, run.plan, augment=config.augment, loss=config.loss, train=config.train)
        phase.run(save=_saver(run), log=log)
    except torch.OutOfMemoryError as error:
        raise TrainingError(_out_of_memory(run.plan.name, config.train, sets.image_size)) from error
    finally:
        tracker.finish()


def _out_of_memory(phase: str, train: TrainSettings, image_size: int) -> str:
    """What to turn where a batch does not fit."""
    remedies = [
        f"lower train.batch_size (now {train.batch_size} per task) and raise train.accumulate (now {train.accumulate})",
        "  by as much: the gradient stays that of the whole batch",
        f"or lower data.image_size (now {image_size})",
    ]
    if train.amp == "off":
        remedies.append("or set train.amp to auto: half precision needs about half the memory")
    return "\n".join([f"{phase}: the batch does not fit the GPU's memory;", *remedies])


def _saver(run: _Run) -> Callable[[MultiTaskModel, int, Validation], None]:
    def save(model: MultiTaskModel, epoch: int, validation: Validation) -> None:
        metrics = {"miou": validation.miou, "map50": validation.map50, "accuracy": validation.accuracy}
        meta = {"phase": run.plan.name, "epoch": epoch, "validation": {**metrics, "losses": validation.losses}}
        save_checkpoint(run.checkpoint, model, meta={**meta, "config": run.described})

    return save


def _described(config: TrainingConfig, *, without: tuple[str, ...]) -> dict[str, Any]:
    """The settings as plain values, but those of `train` that this phase does not read."""
    train: dict[str, Any] = {}
    for name in type(config.train).model_fields:
        if name not in without:
            value = getattr(config.train, name)
            train[name] = value.model_dump(mode="json") if isinstance(value, Settings) else value
    return {
        "seed": config.seed,
        "augment": config.augment.model_dump(mode="json"),
        "loss": config.loss.model_dump(mode="json"),
        "train": train,
    }


def _check_fits(model: MultiTaskModel, sets: Sets, path: str | Path) -> None:
    made_for = (model.image_size, model.det_classes, model.cls_classes)
    found = (sets.image_size, sets.det_classes, sets.cls_classes)
    if made_for != found:
        raise TrainingError(f"{path}: made for {made_for}, the data have {found}; run `python stages/train.py phase1`")


def _phase_seed(seed: int, phase: int) -> int:
    """A seed of its own for each phase, so that the second does not see the first's batches again."""
    return int(np.random.SeedSequence((seed, phase)).generate_state(1)[0])
