"""`panvision train`: three labelled sets in, best_model.pth and its configuration out, without DVC."""

import argparse
import os
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from panvision.cli.configuration import add_options, pins_of, read_configuration

BEST = "best_model.pth"

if TYPE_CHECKING:
    from panvision.config import Config
    from panvision.ingest.units import Pins


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `panvision train`."""
    parser.add_argument(
        "--data_root",
        required=True,
        metavar="DIR",
        help="folder with segmentation/, detection/ and classification/",
    )
    parser.add_argument(
        "--checkpoint_dir",
        default="checkpoints",
        metavar="DIR",
        help="receives best_model.pth, config_<time>.json, curves/ and build/ (default: %(default)s)",
    )
    add_options(parser, "ResNet-50 with ImageNet weights at 256 px")
    parser.add_argument("--device", metavar="NAME", help="cpu, cuda, cuda:1 … (default: the GPU if there is one)")


def run(args: argparse.Namespace) -> int:
    """Train; returns 0, 1 after an error, or 75 after a signal: the same command then goes on."""
    # Here rather than above, so that `--help` answers at once.
    from panvision.ingest.packed import PackedError
    from panvision.ingest.problems import IngestError
    from panvision.model.checkpoint import CheckpointError
    from panvision.model.weights import WeightsError
    from panvision.params import ParamsError
    from panvision.training.errors import TrainingError
    from panvision.training.launch import LAUNCHER, is_rank

    errors = (ParamsError, IngestError, PackedError, WeightsError, CheckpointError, TrainingError, OSError)
    folder = Path(args.checkpoint_dir)
    status: str | int
    try:
        config = read_configuration(args)
        if LAUNCHER not in os.environ:
            if is_rank(os.environ):
                raise TrainingError("torchrun starts `stages/train.py`; this command starts its own: set train.devices")
            _prepare(config, pins_of(args, config), folder, args.device)
        if config.train.devices > 1 and LAUNCHER not in os.environ:
            status = _launch(config, folder, args.device)
        else:
            status = _train(config, folder, args.device, errors)
        if status == 0 and LAUNCHER not in os.environ:
            name = folder / f"config_{datetime.now():%Y%m%d_%H%M%S}.json"
            config.save(name)
            print(f"best model: {folder / BEST}\nits configuration: {name}")
    except errors as error:
        status = str(error)
    if isinstance(status, str):
        print(f"panvision train: {status}", file=sys.stderr)
        return 1
    return status


def _prepare(config: "Config", pins: "Pins", folder: Path, device_name: str | None) -> None:
    """The pipeline's stages before training, below one folder; faults that stop training are found before."""
    from panvision.ingest.pack import prepare
    from panvision.ingest.packed import TASKS
    from panvision.ingest.problems import IngestError
    from panvision.ingest.validate import judge, write_verdict
    from panvision.model.weights import check_weights
    from panvision.training.distributed import pick_device

    config.train.share(config.train.devices)
    pick_device(device_name)
    check_weights(config.model)
    build = folder / "build"
    for task in TASKS:
        prepare(task, config.data, build / "prepared" / task)
    verdict = judge(build / "prepared", config.split, pins)
    if verdict.errors:
        raise IngestError(verdict.refusal())
    write_verdict(verdict, build / "splits.csv", build / "problems.csv", build / "data.json")
    print(verdict.table(), flush=True)


def _launch(config: "Config", folder: Path, device_name: str | None) -> int:
    """The exit code of several processes that each do `_train` with this very configuration."""
    from panvision.training.launch import launch

    settings = folder / "build" / "training.json"
    config.save(settings)
    command = [sys.executable, "-m", "panvision.cli.main", "train", "--config", str(settings)]
    command += ["--data_root", str(config.data.root), "--checkpoint_dir", str(folder)]
    return launch([*command, *(["--device", device_name] if device_name else [])], config.train.devices)


def _train(config: "Config", folder: Path, device_name: str | None, errors: tuple[type[Exception], ...]) -> str | int:
    """Both phases, in this process or as one of several → the exit code or an error's text."""
    from panvision.data.sets import open_sets
    from panvision.training.distributed import Ranks, as_rank
    from panvision.training.phases import TrainingConfig, train_phase1, train_phase2
    from panvision.training.scratch import scratch_below

    settings = TrainingConfig(
        config.seed, config.augment, config.loss, config.train, config.tracking, tasks=config.tasks
    )
    build, curves = folder / "build", folder / "curves"
    start = build / "phase1" / "best_model.pth"

    def work(ranks: Ranks) -> None:
        sets = open_sets(build / "prepared", build / "splits.csv")
        scratch = scratch_below(build / "scratch", os.environ)
        first, second = curves / "phase1.csv", curves / "phase2.csv"
        train_phase1(sets, settings, config.model, checkpoint=start, curves=first, scratch=scratch, ranks=ranks)
        train_phase2(sets, settings, start=start, checkpoint=folder / BEST, curves=second, scratch=scratch, ranks=ranks)

    return as_rank(work, errors, device_name)
