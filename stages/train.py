"""Stages train_phase1 and train_phase2. `python stages/train.py phase1`, then `python stages/train.py phase2`."""

import sys
from pathlib import Path
from typing import Any

import source  # noqa: F401 -- first, so that panvision is this checkout's

from panvision.core.params import ParamsError, read_sections
from panvision.core.states import ClassificationSettings
from panvision.model.settings import ModelSettings
from panvision.training.data.settings import AugmentSettings
from panvision.training.launch import is_rank, launch, run_as_rank
from panvision.training.settings import LossSettings, TrackingSettings, TrainSettings

_BOTH = {
    "augment": AugmentSettings,
    "loss": LossSettings,
    "train": TrainSettings,
    "tracking": TrackingSettings,
    "classification": ClassificationSettings,
}
SCHEMAS = {"phase1": {**_BOTH, "model": ModelSettings}, "phase2": _BOTH}
PHASE1, PHASE2 = Path("build/phase1/best_model.pth"), Path("models/best_model.pth")


def main() -> None:
    """Train the phase named on the command line."""
    if sys.argv[1:] not in (["phase1"], ["phase2"]):
        sys.exit("usage: python stages/train.py {phase1,phase2}")
    phase = sys.argv[1]
    try:
        params = read_sections(SCHEMAS[phase], top=("seed", "tasks") if phase == "phase1" else ("seed",))
        params["order"] = params.pop("classification").order
        params["loss"].check_order(params["order"])
        devices = params["train"].devices
        if devices > 1 and not is_rank():
            # Phase 2 takes the network from its checkpoint, so its processes check that themselves.
            head_norm = params["model"].head_norm if phase == "phase1" else "group"
            params["train"].check_devices(devices, head_norm)
            sys.exit(launch([sys.executable, *sys.argv], devices))
    except ParamsError as error:
        sys.exit(str(error))
    train_phase(phase, params)


def train_phase(phase: str, params: dict[str, Any]) -> None:
    """Train as the only process or as one of several; the launcher needs none of these imports."""
    from panvision.dataset.packed import PackedError
    from panvision.model.checkpoint import CheckpointError
    from panvision.model.weights import WeightsError
    from panvision.training.checkpointing import Scratch
    from panvision.training.data.sets import open_sets
    from panvision.training.ddp import Ranks
    from panvision.training.phases import PhaseFiles, TrainingConfig, train_phase1, train_phase2

    def work(ranks: Ranks) -> None:
        curves, scratch = Path(f"reports/curves/{phase}.csv"), Scratch.of_stage()
        sets = open_sets("build/prepared", "build/splits.csv")
        if phase == "phase1":
            model = params.pop("model")
            files = PhaseFiles(checkpoint=PHASE1, curves=curves, scratch=scratch)
            train_phase1(sets, TrainingConfig(**params), model, files, ranks)
        else:
            files = PhaseFiles(checkpoint=PHASE2, curves=curves, start=PHASE1, scratch=scratch)
            train_phase2(sets, TrainingConfig(**params), files, ranks)

    if status := run_as_rank(work, (ParamsError, PackedError, WeightsError, CheckpointError)):
        sys.exit(status)


if __name__ == "__main__":
    main()
