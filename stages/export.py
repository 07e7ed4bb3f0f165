"""Stage `export`: the checkpoint as ONNX and INT8, held to the checkpoint and scored, with a model card."""

import sys
from pathlib import Path

import source  # noqa: F401 -- first, so that panvision is this checkout's

from panvision.core.params import ParamsError, read_sections
from panvision.core.states import ClassificationSettings
from panvision.dataset.packed import PackedError
from panvision.evaluation.evaluate import EvaluationError, HeldOut
from panvision.evaluation.settings import EvaluationSettings
from panvision.export.errors import ExportError
from panvision.export.settings import ExportSettings
from panvision.export.ship import ship
from panvision.inference.backend import PredictorError
from panvision.inference.predictor import Predictor
from panvision.inference.settings import DecisionSettings, DetectionSettings
from panvision.model.checkpoint import CheckpointError
from panvision.photos.pixels import ImageError
from panvision.photos.settings import DataSettings
from panvision.validate.settings import SplitSettings

CHECKPOINT = "models/best_model.pth"
SCHEMAS = {
    "classification": ClassificationSettings,
    "data": DataSettings,
    "decision": DecisionSettings,
    "detection": DetectionSettings,
    "evaluation": EvaluationSettings,
    "export": ExportSettings,
    "split": SplitSettings,
}
ERRORS = (ParamsError, PackedError, ImageError, CheckpointError, PredictorError, EvaluationError, ExportError)


def main() -> None:
    """Read the checkpoint, the data and metrics/; write both ONNX files, their card and metrics/export.json."""
    try:
        settings = read_sections(SCHEMAS)
        detection, decision, export = settings["detection"], settings["decision"], settings["export"]
        # On the CPU: the same figures on every machine's next run, with or without a GPU.
        reference = (
            Predictor.load(CHECKPOINT, "cpu")
            .with_thresholds(None, detection.nms_threshold, detection.max_detections)
            .with_costs(decision.costs.confusions)
        )
        scored = settings["data"], settings["evaluation"], settings["classification"].order, decision
        held_out = HeldOut(Path("build/prepared"), Path("build/splits.csv"), *scored)
        ship(CHECKPOINT, reference, export, held_out, models="models", metrics="metrics", split=settings["split"])
    except ERRORS as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
