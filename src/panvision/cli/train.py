"""`panvision train`: three labelled sets in, best_model.pth and its configuration out, without DVC."""

import argparse
import os
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from panvision.cli.configuration import add_options, pins_of, read_configuration

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
    from panvision.training.keeping import EXIT_INTERRUPTED, Interrupted

    try:
        config = read_configuration(args)
        _train(config, pins_of(args, config), Path(args.checkpoint_dir), args.device)
    except (ParamsError, IngestError, PackedError, WeightsError, CheckpointError, TrainingError, OSError) as error:
        print(f"panvision train: {error}", file=sys.stderr)
        return 1
    except Interrupted as stopped:
        print(stopped, file=sys.stderr)
        return EXIT_INTERRUPTED
    return 0


def _train(config: "Config", pins: "Pins", folder: Path, device_name: str | None) -> None:
    """The pipeline's stages up to phase 2, below one folder."""
    from panvision.data.sets import open_sets
    from panvision.ingest.pack import prepare
    from panvision.ingest.packed import TASKS
    from panvision.ingest.problems import IngestError
    from panvision.ingest.validate import judge, write_verdict
    from panvision.model.weights import check_weights
    from panvision.training.phases import TrainingConfig, pick_device, train_phase1, train_phase2
    from panvision.training.scratch import scratch_below

    device = pick_device(device_name)
    check_weights(config.model)
    build = folder / "build"
    for task in TASKS:
        prepare(task, config.data, build / "prepared" / task)
    verdict = judge(build / "prepared", config.split, pins)
    if verdict.errors:
        raise IngestError(verdict.refusal())
    write_verdict(verdict, build / "splits.csv", build / "problems.csv", build / "data.json")
    print(verdict.table(), flush=True)
    sets = open_sets(build / "prepared", build / "splits.csv")
    settings = TrainingConfig(
        config.seed, config.augment, config.loss, config.train, config.tracking, tasks=config.tasks
    )
    start, best = build / "phase1" / "best_model.pth", folder / "best_model.pth"
    scratch = scratch_below(build / "scratch", os.environ)
    first, second = folder / "curves/phase1.csv", folder / "curves/phase2.csv"
    train_phase1(sets, settings, config.model, checkpoint=start, curves=first, scratch=scratch, device=device)
    train_phase2(sets, settings, start=start, checkpoint=best, curves=second, scratch=scratch, device=device)
    name = folder / f"config_{datetime.now():%Y%m%d_%H%M%S}.json"
    config.save(name)
    print(f"best model: {best}\nits configuration: {name}")
