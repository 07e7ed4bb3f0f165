"""The two phases: heads on a frozen backbone, then everything. Each leaves its best model behind."""

import contextlib
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from panvision.core.order import find_order
from panvision.core.params import ParamsError, Settings
from panvision.core.tasks import TASKS
from panvision.model.checkpoint import load_checkpoint
from panvision.model.multitask import MultiTaskModel
from panvision.model.settings import ModelSettings
from panvision.model.weights import initialise_model
from panvision.training.checkpointing import Document, SaveTimer, Scratch, TrainingCheckpoints
from panvision.training.data.sets import Sets
from panvision.training.data.settings import AugmentSettings
from panvision.training.ddp import Ranks
from panvision.training.devices import algorithms, describe_machine, keep_freed_memory, random_state
from panvision.training.fingerprint import fingerprint
from panvision.training.fit import fit
from panvision.training.guards import TrainingError, check_finite, explained_errors
from panvision.training.hooks import BestModel, Hook, Saving, Tracking
from panvision.training.settings import LossSettings, TrackingSettings, TrainSettings
from panvision.training.state import Phase, TrainState, start
from panvision.training.stopping import Stop
from panvision.training.tracking import NoTracker, Tracker, make_tracker

# Settings of `train` that change how long a phase takes and what an interruption costs, and no bit of the result.
WITHOUT_EFFECT = ("workers", "save_steps", "save_minutes")


@dataclass(frozen=True)
class TrainingConfig:
    """The settings that both phases read, and the seed.

    Attributes:
        tasks: the heads that phase 1 gives the model; datasets of other tasks are not read. Phase 2 has the tasks of
            its checkpoint.
        order: the setting `classification.order`; read if `loss.ordinal` is not 0.
        shipped: sections of the configuration that training does not read and the checkpoint contains, if it is not
            exported: `detection` and `classification`.
    """

    seed: int
    augment: AugmentSettings
    loss: LossSettings
    train: TrainSettings
    tracking: TrackingSettings
    tasks: tuple[str, ...] = tuple(TASKS)
    order: Sequence[str] | None = None
    shipped: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class PhaseFiles:
    """Files of a phase.

    Attributes:
        checkpoint: receives the best model when the phase ends.
        curves: receives one CSV row per epoch, at the same time.
        start: the checkpoint that the phase starts from; None for phase 1.
        scratch: where training checkpoints are saved, from which the same call resumes; None: nowhere.
    """

    checkpoint: Path
    curves: Path
    start: Path | None = None
    scratch: Scratch | None = None


def train_phase1(
    sets: Sets, config: TrainingConfig, model_settings: ModelSettings, files: PhaseFiles, ranks: Ranks | None = None
) -> Path | None:
    """Build the model and train all but its backbone.

    Args:
        sets: packed datasets and splits.
        config: how to train.
        model_settings: architecture and first weights.
        files: what to write.
        ranks: the processes that train together, each calling this with the same arguments; by default this process
            alone, on the GPU if there is one.

    Returns:
        The folder with the finished model's training checkpoint, from which the same call writes its outputs again;
        None if it is not kept, or on another rank than the first.

    Raises:
        WeightsError: `model.weights` cannot be loaded.
        ParamsError: the ranks cannot share a batch evenly, or `loss.ordinal` or `loss.mask_class` names no
            class of the data.
        TrainingError: a loss is not finite, the GPU's memory does not suffice, another process trains the same, or the
            outputs cannot be written.
        Interrupted: SIGTERM or SIGINT came; the training checkpoint is saved.
    """
    ranks, train = ranks or Ranks(), config.train
    torch.manual_seed(config.seed)
    model = MultiTaskModel(
        model_settings,
        image_size=sets.image_size,
        det_classes=sets.det_classes,
        cls_classes=sets.cls_classes,
        tasks=config.tasks,
    )
    report = initialise_model(model)
    if ranks.leads:
        print(report, flush=True)
    model.backbone.freeze(weights=True, batch_norm=True)
    described = describe_settings(config, ranks, without=("phase2", "batch_norm"))
    described |= {"model": model_settings.model_dump(mode="json"), "tasks": list(model.tasks)}
    seed = phase_seed(config.seed, 1)
    phase = Phase("phase1", train.phase1.epochs, train.phase1.lr, seed, sets, config.augment, config.loss, train, ranks)
    phase = replace(phase, min_steps=train.phase1.min_steps, order=_order(config, model))
    return _train(model, phase, config, described, files)


def train_phase2(sets: Sets, config: TrainingConfig, files: PhaseFiles, ranks: Ranks | None = None) -> None:
    """Train phase 1's best model, `files.start`, end to end, with the tasks it has.

    Raises:
        CheckpointError: `files.start` cannot be used.
        ParamsError: the backbone had random weights, and its BatchNorm is to be frozen.
        TrainingError: it was made for other classes or another image size, or as for `train_phase1`, like all others.
    """
    ranks = ranks or Ranks()
    if files.start is None:
        raise TrainingError("phase2: no checkpoint to start from; run `python stages/train.py phase1`")
    model, metadata = load_checkpoint(files.start)
    _check_fits(model, sets, files.start)
    before = metadata.get("config", {})
    weights = before.get("model", {}).get("weights")
    train = config.train.for_weights(weights)
    train.check_weights(weights)
    config = replace(config, train=train)
    model.backbone.freeze(weights=False, batch_norm=train.batch_norm == "frozen")
    described = {**before, **describe_settings(config, ranks, without=("phase1",))}
    described["train"] = {**before.get("train", {}), **described["train"]}
    seed = phase_seed(config.seed, 2)
    torch.manual_seed(seed)
    phase = Phase("phase2", train.phase2.epochs, train.phase2.lr, seed, sets, config.augment, config.loss, train, ranks)
    phase = replace(
        phase,
        min_steps=train.phase2.min_steps,
        backbone_factor=train.phase2.backbone_factor,
        layer_decay=train.phase2.layer_decay,
        order=_order(config, model),
    )
    _train(model, phase, config, described, files)


def _train(
    model: MultiTaskModel, phase: Phase, config: TrainingConfig, described: dict[str, Any], files: PhaseFiles
) -> Path | None:
    """Train a phase, or what an interrupted run left of it, and write its outputs; return where it is kept."""
    ranks, best = phase.ranks, BestModel(phase.name, config.shipped)
    phase.train.check_devices(ranks.size, model.settings.head_norm)
    _check_classes(phase, model)
    with contextlib.ExitStack() as stack:
        tf32 = phase.train.amp != "off"
        stack.enter_context(algorithms(ranks.device, deterministic=phase.train.deterministic, tf32=tf32))
        if ranks.device.type == "cpu":
            keep_freed_memory()
        # Channels last is the fastest layout for convolutions, also on a CPU: docs/results.md, "Training speed".
        model.to(ranks.device).to(memory_format=torch.channels_last)
        checkpoints = None
        if files.scratch is not None and ranks.leads:
            named = {**described, "phase": phase.name}
            key = fingerprint(named, phase.sets, model, start=files.start, device=ranks.device)
            checkpoints = stack.enter_context(TrainingCheckpoints(files.scratch, phase.name, key))
        found = None if checkpoints is None else checkpoints.load()
        if found is not None:
            best.load_state_dict(found.pop("outcome"))
        # The best model so far stays with the first rank.
        found = ranks.from_first(found)
        if found is None or not found["finished"]:
            run_id = None if found is None else found["run_id"]
            tracker: Tracker = NoTracker()
            if ranks.leads:
                tracker = make_tracker(config.tracking, phase.name, described, run_id=run_id)
            stack.callback(tracker.finish)
            stop = stack.enter_context(Stop(ranks)) if files.scratch is not None else None
            _learn(model, phase, best, tracker=tracker, checkpoints=checkpoints, found=found, stop=stop)
        if ranks.leads:
            _finish(best, model, described, checkpoints, files, phase.name)
        ranks.largest(0)  # the others may read the outputs from here on
    return None if checkpoints is None or not checkpoints.folder.exists() else checkpoints.folder


def _learn(
    model: MultiTaskModel,
    phase: Phase,
    best: BestModel,
    *,
    tracker: Tracker,
    checkpoints: TrainingCheckpoints | None,
    found: Document | None,
    stop: Stop | None,
) -> None:
    """Take the remaining steps, from the training checkpoint `found` if there is one."""
    device = phase.ranks.device
    phase.ranks.share_layers(model)
    state = start(model, phase)
    if found is not None:
        state.load_state_dict(found["state"])
        if phase.ranks.leads:
            print(_resumed(phase, state, found), flush=True)
        if found["run_id"] is None:
            for row in best.rows:  # tracking was turned on after the first epochs
                tracker.log(row)

    def document() -> Document:
        check_finite(state, phase)  # a state with a value that is not finite is not worth keeping
        return {
            "machine": describe_machine(device),
            "run_id": tracker.run_id,
            "state": state.state_dict(),
            "random": random_state(device),
            "outcome": best.state_dict(),
        }

    hooks: list[Hook] = [best, Tracking(tracker)]
    if stop is not None:
        timer = SaveTimer(phase.train, state.step)
        hooks.append(Saving(phase.name, checkpoints, document, timer=timer, stop=stop))
    with explained_errors(phase.name, phase.train, devices=phase.ranks.size, image_size=model.image_size):
        fit(state, phase, hooks, random_state=None if found is None else found["random"])


def _finish(
    best: BestModel,
    model: MultiTaskModel,
    described: dict[str, Any],
    checkpoints: TrainingCheckpoints | None,
    files: PhaseFiles,
    name: str,
) -> None:
    """Write the outputs. Until they are stored elsewhere, the finished model stays as the training checkpoint."""
    packed = best.pack(model, described)
    if checkpoints is not None:
        md5 = hashlib.md5(packed, usedforsecurity=False).hexdigest()
        checkpoints.finish({"outcome": best.state_dict()}, md5)
    try:
        best.write(packed, checkpoint=files.checkpoint, curves=files.curves)
    except OSError as error:
        kept = "" if checkpoints is None else f"; the model is kept in {checkpoints.folder}, run the same command again"
        raise TrainingError(
            f"{name}: {files.checkpoint}, {files.curves}: cannot be written ({error.strerror}): free disk space or "
            f"correct the folders{kept}"
        ) from error
    if checkpoints is not None:
        checkpoints.close()


def _resumed(phase: Phase, state: TrainState, found: Document) -> str:
    line = f"{phase.name}: resumed from step {state.step} (epoch {state.epoch + 1}) saved at {found['saved']}"
    here = describe_machine(phase.ranks.device)
    if here == found["machine"]:
        return line
    return f"{line}\n{phase.name}: saved on {found['machine']}, this is {here}: the last bits of the result may differ"


def describe_settings(config: TrainingConfig, ranks: Ranks, *, without: tuple[str, ...]) -> dict[str, Any]:
    """Return the settings as plain values, without those that this phase does not read or that change no bit."""
    train: dict[str, Any] = {}
    for name in type(config.train).model_fields:
        if name not in (*without, *WITHOUT_EFFECT):
            value = getattr(config.train, name)
            train[name] = value.model_dump(mode="json") if isinstance(value, Settings) else value
    train["devices"] = ranks.size  # torchrun may have started another number
    described = {
        "seed": config.seed,
        "augment": config.augment.model_dump(mode="json"),
        "loss": config.loss.model_dump(mode="json"),
        "train": train,
    }
    return described | {"classification": {"order": config.order}} if config.loss.ordinal else described


def _check_classes(phase: Phase, model: MultiTaskModel) -> None:
    """Raise ParamsError unless the params name classes that the model has, where its losses need them."""
    if phase.loss.mask_class not in (None, *model.det_classes) and "detection" in model.tasks:
        raise ParamsError(
            f"loss.mask_class: {phase.loss.mask_class}: no detection class; the classes are {model.det_classes}; "
            "name the one that the masks show, or set it to null"
        )


def _order(config: TrainingConfig, model: MultiTaskModel) -> tuple[str, ...] | None:
    """Return the order that labels are spread along, None if they are not; raise ParamsError if there is none."""
    if not config.loss.ordinal or "classification" not in model.tasks:
        return None
    config.loss.check_order(config.order)
    try:
        order = find_order(config.order, model.cls_classes)
    except ValueError as error:
        raise ParamsError(f"{error}, or set loss.ordinal to 0.0") from error
    if order is None:
        raise ParamsError(
            f"loss.ordinal: classification.order is auto, and the states {model.cls_classes} show no order; list them "
            "there from the first to the last, or set loss.ordinal to 0.0"
        )
    return order


def _check_fits(model: MultiTaskModel, sets: Sets, path: Path) -> None:
    made_for = (model.image_size, model.det_classes, model.cls_classes)
    # A model has no class names of tasks that it does not have.
    boxes = sets.det_classes if "detection" in model.tasks else []
    found = (sets.image_size, boxes, sets.cls_classes if "classification" in model.tasks else [])
    if made_for != found:
        raise TrainingError(f"{path}: made for {made_for}, the data have {found}; run `python stages/train.py phase1`")


def phase_seed(seed: int, phase: int) -> int:
    """Return a separate seed for each phase, so the second one does not see the first one's batches again."""
    return int(np.random.SeedSequence((seed, phase)).generate_state(1)[0])
