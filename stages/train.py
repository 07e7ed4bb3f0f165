"""Stages train_phase1 and train_phase2. `python stages/train.py phase1`, then `python stages/train.py phase2`."""

import os
import sys
from dataclasses import replace

import source  # noqa: F401 -- first, so that panvision is this checkout's

from panvision.data.sets import open_sets
from panvision.data.settings import AugmentSettings
from panvision.ingest.packed import PackedError
from panvision.model.checkpoint import CheckpointError
from panvision.model.settings import ModelSettings
from panvision.model.weights import WeightsError
from panvision.params import ParamsError, read_sections, read_seed, read_tasks
from panvision.training.errors import TrainingError
from panvision.training.keeping import EXIT_INTERRUPTED, Interrupted
from panvision.training.phases import TrainingConfig, train_phase1, train_phase2
from panvision.training.scratch import Scratch
from panvision.training.settings import LossSettings, TrackingSettings, TrainSettings

PHASE1, PHASE2 = "build/phase1/best_model.pth", "models/best_model.pth"


def main() -> None:
    """Train the phase named on the command line."""
    if sys.argv[1:] not in (["phase1"], ["phase2"]):
        sys.exit("usage: python stages/train.py {phase1,phase2}")
    phase = sys.argv[1]
    schemas = {"augment": AugmentSettings, "loss": LossSettings, "train": TrainSettings, "tracking": TrackingSettings}
    curves, scratch = f"reports/curves/{phase}.csv", Scratch.of_stage(os.environ)
    try:
        config = TrainingConfig(read_seed(), **read_sections(schemas))
        if phase == "phase1":
            model: ModelSettings = read_sections({"model": ModelSettings})["model"]
            config = replace(config, tasks=read_tasks())
            sets = open_sets("build/prepared", "build/splits.csv")
            train_phase1(sets, config, model, checkpoint=PHASE1, curves=curves, scratch=scratch)
        else:
            sets = open_sets("build/prepared", "build/splits.csv")
            train_phase2(sets, config, start=PHASE1, checkpoint=PHASE2, curves=curves, scratch=scratch)
    except (ParamsError, PackedError, WeightsError, CheckpointError, TrainingError) as error:
        sys.exit(str(error))
    except Interrupted as stopped:
        print(stopped, file=sys.stderr)
        sys.exit(EXIT_INTERRUPTED)


if __name__ == "__main__":
    main()
