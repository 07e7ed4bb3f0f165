"""The two phases: heads on a frozen backbone, then everything, each leaving its best model behind."""

import contextlib
import hashlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from panvision.core.locks import BusyError
from panvision.core.params import Settings
from panvision.core.tasks import TASKS
from panvision.model.checkpoint import load_checkpoint
from panvision.model.multitask import MultiTaskModel
from panvision.model.settings import ModelSettings
from panvision.model.weights import initialise_backbone
from panvision.training.curves import Row
from panvision.training.data.sets import Sets
from panvision.training.data.settings import AugmentSettings
from panvision.training.distributed import Alone, Ranks
from panvision.training.errors import TrainingError
from panvision.training.fingerprint import fingerprint
from panvision.training.keeping import StateKeeper
from panvision.training.loop import Phase, Plan
from panvision.training.memory import keep_freed_memory
from panvision.training.outcome import Outcome, write_outputs
from panvision.training.progress import Progress
from panvision.training.repeat import describe_machine, deterministic, random_state, restore_random_state
from panvision.training.scratch import VARIABLE, Scratch
from panvision.training.settings import LossSettings, TrackingSettings, TrainSettings
from panvision.training.shared_layers import share_layers
from panvision.training.state import Document, StateFolder
from panvision.training.stopping import Stop
from panvision.training.tracking import NoTracker, make_tracker
from panvision.training.validation import Validation

# Settings of `train` that change how long a phase takes and what an interruption costs, and no bit of the result.
WITHOUT_EFFECT = ("workers", "save_steps", "save_minutes")
# Where PyTorch's compiler defines its errors.
COMPILERS = ("torch._dynamo", "torch._inductor")


@dataclass(frozen=True)
class _Run:
    """One phase's plan, what it is described with, what it starts from, where it writes to, and who computes it."""

    plan: Plan
    described: dict[str, Any]
    start: str | Path | None
    checkpoint: str | Path
    curves: str | Path
    scratch: Scratch | None
    ranks: Ranks


@dataclass(frozen=True)
class _Keeping:
    """Where states go to (None but on the first rank), and the signals that ask for one."""

    states: StateFolder | None
    stop: Stop

    def keeper(
        self, name: str, progress: Progress, document: Callable[[], Document], train: TrainSettings
    ) -> StateKeeper:
        return StateKeeper(
            name,
            self.states,
            document,
            progress=progress,
            stop=self.stop,
            settings=train,
        )


@dataclass(frozen=True)
class TrainingConfig:
    """The settings that both phases read, and the seed.

    Attributes:
        tasks: which heads phase 1 gives the model; the sets of other tasks are not looked at. Phase 2 has the tasks
            of its checkpoint.
    """

    seed: int
    augment: AugmentSettings
    loss: LossSettings
    train: TrainSettings
    tracking: TrackingSettings
    tasks: tuple[str, ...] = tuple(TASKS)


def train_phase1(
    sets: Sets,
    config: TrainingConfig,
    model_settings: ModelSettings,
    *,
    checkpoint: str | Path,
    curves: str | Path,
    scratch: Scratch | None = None,
    ranks: Ranks | None = None,
) -> Path | None:
    """Build the model and train all but its backbone.

    Args:
        sets: packed sets and splits.
        config: how to train.
        model_settings: architecture and first weights.
        checkpoint: receives the best model when the phase ends.
        curves: receives one CSV row per epoch, likewise.
        scratch: where states are saved, from which the same call goes on after an interruption; None: nowhere.
        ranks: who trains together, each calling this with the same arguments, and on which device; by default this
            process alone, on the GPU if there is one.

    Returns:
        The folder in which the finished model is kept, from which the same call writes its outputs again; None: it is
        not, or another rank knows.

    Raises:
        WeightsError: `model.weights` cannot be had.
        ParamsError: the ranks cannot share a batch evenly.
        TrainingError: a loss is not finite, the GPU's memory does not suffice, another process trains the same,
            another rank has ended, or the outputs cannot be written.
        Interrupted: SIGTERM or SIGINT came; the state is saved.
    """
    ranks = ranks or Alone()
    torch.manual_seed(config.seed)
    model = MultiTaskModel(
        model_settings,
        image_size=sets.image_size,
        det_classes=sets.det_classes,
        cls_classes=sets.cls_classes,
        tasks=config.tasks,
    )
    if ranks.leads:  # the others get its weights
        print(initialise_backbone(model.backbone, model_settings), flush=True)
    model.backbone.freeze(weights=True, batch_norm=True)
    train = config.train
    described = _described(config, ranks, without=("phase2", "batch_norm"))
    described |= {"model": model_settings.model_dump(mode="json"), "tasks": list(model.tasks)}
    plan = Plan("phase1", train.phase1.epochs, train.phase1.lr, _phase_seed(config.seed, 1))
    return _train(model, sets, config, _Run(plan, described, None, checkpoint, curves, scratch, ranks))


def train_phase2(
    sets: Sets,
    config: TrainingConfig,
    *,
    start: str | Path,
    checkpoint: str | Path,
    curves: str | Path,
    scratch: Scratch | None = None,
    ranks: Ranks | None = None,
) -> None:
    """Train phase 1's best model end to end, with the tasks it has; arguments and errors as for `train_phase1`.

    Args:
        start: the checkpoint that phase 1 left.

    Raises:
        CheckpointError: `start` cannot be used.
        TrainingError: it was made for other classes or another image size, or as for `train_phase1`.
    """
    ranks = ranks or Alone()
    model, metadata = load_checkpoint(start)
    _check_fits(model, sets, start)
    train = config.train
    model.backbone.freeze(weights=False, batch_norm=train.batch_norm == "frozen")
    described = {**metadata.get("config", {}), **_described(config, ranks, without=("phase1",))}
    described["train"] = {**metadata.get("config", {}).get("train", {}), **described["train"]}
    seed = _phase_seed(config.seed, 2)
    torch.manual_seed(seed)
    plan = Plan("phase2", train.phase2.epochs, train.phase2.lr, seed, backbone_lr=train.phase2.backbone_lr)
    _train(model, sets, config, _Run(plan, described, start, checkpoint, curves, scratch, ranks))


def _train(model: MultiTaskModel, sets: Sets, config: TrainingConfig, run: _Run) -> Path | None:
    """Train a phase, or what an interrupted run of it left to train, and write its outputs → where it is kept."""
    ranks = run.ranks
    config.train.share(ranks.size)
    device = ranks.device
    outcome = Outcome(run.plan.name)
    with contextlib.ExitStack() as stack:
        stack.enter_context(deterministic(device))
        if device.type == "cpu":
            keep_freed_memory()
        # Channels last is the fastest layout for convolutions, on a CPU as well: docs/results.md, "Training speed".
        model.to(device).to(memory_format=torch.channels_last)
        _equalise(model, ranks, device)
        states = None
        if run.scratch is not None and ranks.leads:
            states = _open_states(stack, run, run.scratch, _key(model, sets, run, device))
        found = None if states is None else _newest(states, run)
        if found is not None:
            outcome.load_state_dict(found["outcome"])
        # The best model so far stays with the first rank.
        told = None if found is None else {name: value for name, value in found.items() if name != "outcome"}
        keeps, found = ranks.from_first((states is not None, told))
        if found is None or not found["finished"]:
            share_layers(model, ranks)
            keeping = _Keeping(states, stack.enter_context(Stop(ranks))) if keeps else None
            phase = Phase(
                model, sets, run.plan, augment=config.augment, loss=config.loss, train=config.train, ranks=ranks
            )
            _learn(phase, config, run, outcome=outcome, keeping=keeping, found=found)
        if ranks.leads:
            _finish(outcome.pack(model, run.described), outcome, run, states)
        # What rank 0 wrote, all may read now.
        ranks.largest(0)
    return None if states is None or not states.folder.exists() else states.folder


def _equalise(model: MultiTaskModel, ranks: Ranks, device: torch.device) -> None:
    """Give all ranks the first one's weights and random generators."""
    ranks.copy_from_first([*model.parameters(), *model.buffers()])
    if ranks.size > 1:
        restore_random_state(ranks.from_first(random_state(device)), device)


def _learn(
    phase: Phase,
    config: TrainingConfig,
    run: _Run,
    *,
    outcome: Outcome,
    keeping: _Keeping | None,
    found: Document | None,
) -> None:
    """The steps that are left, from the state `found` if there is one."""
    run_id = None
    if found is not None:
        phase.load_state_dict(found["phase"])
        run_id = found["run_id"]
    leads = run.ranks.leads
    if found is not None and leads:
        print(_resumed(run.plan.name, phase, found), flush=True)
    tracker = make_tracker(config.tracking, run.plan.name, run.described, run_id=run_id) if leads else NoTracker()
    if run_id is None:
        for row in outcome.rows:  # tracking was turned on only now
            tracker.log(row)

    def keep(model: MultiTaskModel, epoch: int, validation: Validation) -> None:
        if leads:
            outcome.keep(model, epoch, validation)

    def log(row: Row) -> None:
        outcome.rows.append(row)
        tracker.log(row)

    def document() -> Document:
        now = {"finished": False, "saved": _now(), "machine": describe_machine(phase.device), "run_id": tracker.run_id}
        return {**now, "phase": phase.state_dict(), "outcome": outcome.state_dict()}

    train = config.train
    keeper = None if keeping is None else keeping.keeper(run.plan.name, phase.progress, document, train)
    try:
        phase.run(save=keep, log=log, keeper=keeper)
    except torch.OutOfMemoryError as error:
        raise TrainingError(_out_of_memory(run, train, phase.image_size)) from error
    except RuntimeError as error:
        if train.compile and type(error).__module__.startswith(COMPILERS):
            reason = str(error).strip().splitlines()[0]
            raise TrainingError(
                f"{run.plan.name}: the model cannot be compiled ({reason}); set train.compile to false"
            ) from error
        raise
    finally:
        tracker.finish()


def _out_of_memory(run: _Run, train: TrainSettings, image_size: int) -> str:
    """What to turn where a batch does not fit."""
    devices = run.ranks.size
    shared = "" if devices == 1 else f" over {devices} devices"
    remedies = [
        f"lower train.batch_size (now {train.batch_size} per task{shared})",
        f"  and raise train.accumulate (now {train.accumulate}) by as much: the gradient stays that of",
        "  the whole batch",
        f"or lower data.image_size (now {image_size})",
    ]
    if train.amp == "off":
        remedies.append("or set train.amp to auto: half precision needs about half the memory")
    if run.ranks.local_size < torch.cuda.device_count():
        remedies.append(f"or raise train.devices (now {devices}): the GPUs share the batch")
    return "\n".join([f"{run.plan.name}: the batch does not fit the GPU's memory;", *remedies])


def _key(model: MultiTaskModel, sets: Sets, run: _Run, device: torch.device) -> str:
    described = {**run.described, "phase": run.plan.name}
    return fingerprint(described, sets, model, start=run.start, device=device)


def _open_states(stack: contextlib.ExitStack, run: _Run, scratch: Scratch, key: str) -> StateFolder | None:
    """The states of this very training; None, with a warning, where they cannot be written."""
    folder = scratch.folder / f"{run.plan.name}-{key[:16]}"
    scratch.prune(folder.name)
    try:
        return stack.enter_context(StateFolder(folder, key))
    except BusyError as error:
        raise TrainingError(
            f"{run.plan.name}: process {error.process} trains this already ({folder}); wait for it or stop it, then "
            "run this again"
        ) from error
    except OSError as error:
        print(
            f"{run.plan.name}: warning: {folder}: {error.strerror}; an interruption will cost the whole "
            f"training; set {VARIABLE} to a folder that can be written",
            file=sys.stderr,
            flush=True,
        )
        return None


def _newest(states: StateFolder, run: _Run) -> Document | None:
    """The state to go on from."""
    found = states.newest()
    if found is None or not found["finished"]:
        return found
    if run.scratch is not None and run.scratch.stored(found["md5"]):
        # DVC has the result and asks for it once more: somebody wants to see it trained again.
        states.clear()
        return None
    print(f"{run.plan.name}: trained to the end at {found['saved']}; its outputs are written again", flush=True)
    return found


def _finish(packed: bytes, outcome: Outcome, run: _Run, states: StateFolder | None) -> None:
    """Write the outputs; until somebody has stored them away, the best model alone stays as the state."""
    if states is not None:
        md5 = hashlib.md5(packed, usedforsecurity=False).hexdigest()
        last = {"finished": True, "saved": _now(), "md5": md5, "outcome": outcome.state_dict()}
        # On a full disk the states before it remain, and the last of them leads here again.
        with contextlib.suppress(OSError):
            states.finish(last)
    try:
        write_outputs(packed, outcome.rows, checkpoint=run.checkpoint, curves=run.curves)
    except OSError as error:
        kept = "" if states is None else f"; the training is kept in {states.folder}, the same command writes them then"
        raise TrainingError(
            f"{run.plan.name}: {run.checkpoint}, {run.curves}: cannot be written ({error.strerror}): "
            f"make room or mend the folders{kept}"
        ) from error
    if states is not None and run.scratch is not None and run.scratch.lock is None and not run.scratch.keep:
        states.remove()


def _resumed(name: str, phase: Phase, found: Document) -> str:
    step, epoch = phase.progress.step, phase.progress.epoch + 1
    line = f"{name}: resumed from step {step} (epoch {epoch}) saved at {found['saved']}"
    here = describe_machine(phase.device)
    if here == found["machine"]:
        return line
    return f"{line}\n{name}: saved on {found['machine']}, this is {here}: the last bits of the result may differ"


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")


def _described(config: TrainingConfig, ranks: Ranks, *, without: tuple[str, ...]) -> dict[str, Any]:
    """The settings as plain values, but those of `train` that this phase does not read or that change no result."""
    train: dict[str, Any] = {}
    for name in type(config.train).model_fields:
        if name not in (*without, *WITHOUT_EFFECT):
            value = getattr(config.train, name)
            train[name] = value.model_dump(mode="json") if isinstance(value, Settings) else value
    train["devices"] = ranks.size  # torchrun may have started another number
    return {
        "seed": config.seed,
        "augment": config.augment.model_dump(mode="json"),
        "loss": config.loss.model_dump(mode="json"),
        "train": train,
    }


def _check_fits(model: MultiTaskModel, sets: Sets, path: str | Path) -> None:
    made_for = (model.image_size, model.det_classes, model.cls_classes)
    # A model has no names for tasks that it has not.
    boxes = sets.det_classes if "detection" in model.tasks else []
    found = (sets.image_size, boxes, sets.cls_classes if "classification" in model.tasks else [])
    if made_for != found:
        raise TrainingError(f"{path}: made for {made_for}, the data have {found}; run `python stages/train.py phase1`")


def _phase_seed(seed: int, phase: int) -> int:
    """A seed of its own for each phase, so that the second does not see the first's batches again."""
    return int(np.random.SeedSequence((seed, phase)).generate_state(1)[0])
