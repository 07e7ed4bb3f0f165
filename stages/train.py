"""Stages train_phase1 and train_phase2. `python stages/train.py phase1`, then `python stages/train.py phase2`."""

import os
import sys
from typing import Any

import source  # noqa: F401 -- first, so that panvision is this checkout's

from panvision.core.params import ParamsError, read_sections
from panvision.model.settings import ModelSettings
from panvision.training.data.settings import AugmentSettings
from panvision.training.launch import is_rank, launch
from panvision.training.settings import LossSettings, TrackingSettings, TrainSettings

_BOTH = {"augment": AugmentSettings, "loss": LossSettings, "train": TrainSettings, "tracking": TrackingSettings}
SCHEMAS = {"phase1": {**_BOTH, "model": ModelSettings}, "phase2": _BOTH}
PHASE1, PHASE2 = "build/phase1/best_model.pth", "models/best_model.pth"


def main() -> None:
    """Train the phase named on the command line."""
    if sys.argv[1:] not in (["phase1"], ["phase2"]):
        sys.exit("usage: python stages/train.py {phase1,phase2}")
    phase = sys.argv[1]
    try:
        params = read_sections(SCHEMAS[phase], top=("seed", "tasks") if phase == "phase1" else ("seed",))
        devices = params["train"].devices
        if devices > 1 and not is_rank(os.environ):
            params["train"].share(devices)
            sys.exit(launch([sys.executable, *sys.argv], devices))
    except ParamsError as error:
        sys.exit(str(error))
    train_phase(phase, params)


def train_phase(phase: str, params: dict[str, Any]) -> None:
    """Train as the only process or as one of several; what starts those needs none of these imports."""
    from panvision.dataset.packed import PackedError
    from panvision.model.checkpoint import CheckpointError
    from panvision.model.weights import WeightsError
    from panvision.training.data.sets import open_sets
    from panvision.training.distributed import Ranks, as_rank
    from panvision.training.phases import TrainingConfig, train_phase1, train_phase2
    from panvision.training.scratch import Scratch

    def work(ranks: Ranks) -> None:
        paths = {"curves": f"reports/curves/{phase}.csv", "scratch": Scratch.of_stage(os.environ), "ranks": ranks}
        sets = open_sets("build/prepared", "build/splits.csv")
        if phase == "phase1":
            model = params.pop("model")
            train_phase1(sets, TrainingConfig(**params), model, checkpoint=PHASE1, **paths)
        else:
            train_phase2(sets, TrainingConfig(**params), start=PHASE1, checkpoint=PHASE2, **paths)

    if status := as_rank(work, (ParamsError, PackedError, WeightsError, CheckpointError)):
        sys.exit(status)


if __name__ == "__main__":
    main()
