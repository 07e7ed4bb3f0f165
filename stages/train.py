"""Stages train_phase1 and train_phase2. `python stages/train.py phase1`, then `python stages/train.py phase2`."""

import os
import sys
from typing import Any

import source  # noqa: F401 -- first, so that panvision is this checkout's

from panvision.data.settings import AugmentSettings
from panvision.model.settings import ModelSettings
from panvision.params import ParamsError, read_sections, read_seed, read_tasks
from panvision.training.launch import is_rank, launch
from panvision.training.settings import LossSettings, TrackingSettings, TrainSettings

PHASE1, PHASE2 = "build/phase1/best_model.pth", "models/best_model.pth"


def main() -> None:
    """Train the phase named on the command line."""
    if sys.argv[1:] not in (["phase1"], ["phase2"]):
        sys.exit("usage: python stages/train.py {phase1,phase2}")
    phase = sys.argv[1]
    schemas = {"augment": AugmentSettings, "loss": LossSettings, "train": TrainSettings, "tracking": TrackingSettings}
    try:
        shared = {"seed": read_seed(), **read_sections(schemas)}
        first = {"tasks": read_tasks(), **read_sections({"model": ModelSettings})} if phase == "phase1" else {}
        train: TrainSettings = shared["train"]
        if train.devices > 1 and not is_rank(os.environ):
            train.share(train.devices)
            sys.exit(launch([sys.executable, *sys.argv], train.devices))
    except ParamsError as error:
        sys.exit(str(error))
    train_phase(phase, shared, first)


def train_phase(phase: str, shared: dict[str, Any], first: dict[str, Any]) -> None:
    """Train as the only process or as one of several; what starts those needs none of these imports."""
    from panvision.data.sets import open_sets
    from panvision.ingest.packed import PackedError
    from panvision.model.checkpoint import CheckpointError
    from panvision.model.weights import WeightsError
    from panvision.training.distributed import Ranks, as_rank
    from panvision.training.phases import TrainingConfig, train_phase1, train_phase2
    from panvision.training.scratch import Scratch

    def work(ranks: Ranks) -> None:
        paths = {"curves": f"reports/curves/{phase}.csv", "scratch": Scratch.of_stage(os.environ), "ranks": ranks}
        sets = open_sets("build/prepared", "build/splits.csv")
        if phase == "phase1":
            config = TrainingConfig(**shared, tasks=first["tasks"])
            train_phase1(sets, config, first["model"], checkpoint=PHASE1, **paths)
        else:
            train_phase2(sets, TrainingConfig(**shared), start=PHASE1, checkpoint=PHASE2, **paths)

    if status := as_rank(work, (ParamsError, PackedError, WeightsError, CheckpointError)):
        sys.exit(status)


if __name__ == "__main__":
    main()
