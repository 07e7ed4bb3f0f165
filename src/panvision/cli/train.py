"""`panvision train`: three labelled datasets in, best_model.pth and its configuration out, without DVC."""

import contextlib
import json
import os
import sys
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from panvision.cli.configuration import pins_of, read_configuration
from panvision.cli.exits import Exit
from panvision.cli.framework import Args, command
from panvision.cli.lock import only_writer
from panvision.cli.options import FOLDER, data_root, device, json_flag, option, settings
from panvision.cli.packing import pack
from panvision.cli.status import narrated_on_stderr

BEST = "best_model.pth"

if TYPE_CHECKING:
    from panvision.config import Config


@command(
    about="Does what the pipeline's stages do up to the trained model, without DVC: checks and packs three labelled "
    "datasets, splits them, and trains the network in two phases. After an interruption, the same command resumes from "
    "the last saved state.",
    examples={
        "ResNet-50 with ImageNet weights, best on a GPU": "panvision train data/demo",
        "a small network, in minutes on two CPU cores": "panvision train data/demo --config laptop "
        "--checkpoint_dir small",
        "for programs": "panvision train data/demo --json > trained.json",
        "from random weights, with another weight of a task's loss": "panvision train data/demo "
        "--set model.weights=none --set train.batch_norm=train --set loss.cls=4.0",
    },
    exits={
        Exit.STOPPED: "stopped by Ctrl-C or SIGTERM, the state saved: the same command resumes",
        Exit.INTERRUPTED: "interrupted by a second Ctrl-C, or before the training began",
    },
    sections={
        "arguments": data_root(),
        "settings": [*settings("ResNet-50 with ImageNet weights at 256 px"), device()],
        "output": [
            json_flag("checkpoint and config, both files; progress goes to standard error"),
            option(
                "--checkpoint_dir",
                "Receives best_model.pth, config_<time>.json, curves/ and build/.",
                default="checkpoints",
                type=FOLDER,
            ),
        ],
    },
)
def run(args: Args) -> int:
    """Train; returns 75 after a signal: the same command then resumes."""
    # Imported here, so that `--help` answers at once.
    from panvision.training.guards import TrainingError
    from panvision.training.launch import LAUNCHED, is_rank

    folder = Path(args.checkpoint_dir)
    config = read_configuration(args)
    if LAUNCHED in os.environ:
        return _train(config, folder, args)
    if is_rank():
        raise TrainingError("torchrun starts `stages/train.py`; this command starts its own: set train.devices")
    _check(config, args.device)
    narration = narrated_on_stderr() if args.json else contextlib.nullcontext()
    with only_writer(folder / "build", "--checkpoint_dir"), narration:
        pins = pins_of(args, config)
        pack(config, pins, folder / "build")
        status = (_launch if config.train.devices > 1 else _train)(config, folder, args)
    if status == Exit.DONE:
        name = folder / f"config_{datetime.now():%Y%m%d_%H%M%S}.json"
        config.with_pins(pins).save(name)
        files = {"checkpoint": str(folder / BEST), "config": str(name)}
        print(json.dumps(files) if args.json else f"best model: {folder / BEST}\nits configuration: {name}")
    return status


def _check(config: "Config", device_name: str | None) -> None:
    """Find what would stop the training before any image is read."""
    from panvision.model.weights import check_weights
    from panvision.training.devices import pick_device

    config.train.for_weights(config.model.weights).check_devices(config.train.devices, config.model.head_norm)
    config.train.check_weights(config.model.weights)
    config.loss.check_order(config.classification.order)
    pick_device(device_name)
    check_weights(config.model)


def _launch(config: "Config", folder: Path, args: Args) -> int:
    """Train in several processes, each with this configuration; returns their exit code."""
    from panvision.training.launch import launch

    settings = folder / "build" / "training.json"
    config.save(settings)
    command = [sys.executable, "-m", "panvision.cli.main", "train", "--config", str(settings)]
    command += ["--data_root", str(config.data.root), "--checkpoint_dir", str(folder)]
    return launch([*command, *(["--device", args.device] if args.device else [])], config.train.devices)


def _train(config: "Config", folder: Path, args: Args) -> int:
    """Train both phases, in this process or as one of several; returns the exit code.

    Raises:
        TrainingError: the training failed and this process reports it.
    """
    from panvision.core.params import ParamsError
    from panvision.core.tasks import datasets_of
    from panvision.dataset.packed import PackedError
    from panvision.inference.origin import pack_images
    from panvision.model.checkpoint import CheckpointError
    from panvision.model.weights import WeightsError
    from panvision.training.checkpointing import Scratch, remove_training
    from panvision.training.data.sets import open_sets
    from panvision.training.ddp import Ranks
    from panvision.training.guards import TrainingError
    from panvision.training.launch import LAUNCHED, run_as_rank
    from panvision.training.phases import PhaseFiles, TrainingConfig, train_phase1, train_phase2

    build, curves = folder / "build", folder / "curves"
    prepared, splits = build / "prepared", build / "splits.csv"
    settings = TrainingConfig(
        config.seed,
        config.augment,
        config.loss,
        config.train,
        config.tracking,
        tasks=config.tasks,
        order=config.classification.order,
        shipped={
            **config.model_dump(mode="json", include={"detection", "classification"}),
            "training_images": pack_images(prepared, splits, datasets_of(config.tasks)),
        },
    )
    start = build / "phase1" / "best_model.pth"

    def work(ranks: Ranks) -> None:
        sets = open_sets(prepared, splits)
        scratch = Scratch.below(build / "scratch")
        # Keep phase 1's model until phase 2 has ended: stopped there, the same command must not train phase 1 again.
        first = PhaseFiles(start, curves / "phase1.csv", scratch=replace(scratch, keep=True))
        kept = train_phase1(sets, settings, config.model, first, ranks)
        train_phase2(sets, settings, PhaseFiles(folder / BEST, curves / "phase2.csv", start, scratch), ranks)
        if kept is not None:
            remove_training(kept)

    known = (ParamsError, PackedError, WeightsError, CheckpointError, OSError)
    # The launcher reports the errors of several processes; those of a single one are raised.
    status = run_as_rank(work, known if LAUNCHED in os.environ else (), args.device)
    if isinstance(status, str):
        raise TrainingError(status)
    return status
