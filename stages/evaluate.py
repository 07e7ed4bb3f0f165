"""Stage `evaluate`: score the shipped model on the raw test images, with confidence intervals."""

import sys
from pathlib import Path

import source  # noqa: F401 -- first, so that panvision is this checkout's

from panvision.core.params import ParamsError, read_sections
from panvision.core.states import ClassificationSettings
from panvision.dataset.packed import PackedError
from panvision.evaluation.evaluate import EvaluationError, HeldOut, evaluate
from panvision.evaluation.settings import EvaluationSettings
from panvision.inference.backend import PredictorError
from panvision.inference.predictor import Predictor
from panvision.inference.settings import DecisionSettings, DetectionSettings
from panvision.photos.pixels import ImageError
from panvision.photos.settings import DataSettings


def main() -> None:
    """Read models/best_model.pth, validation and test split; write metrics, reports/plots and reports/results."""
    schemas = {
        "data": DataSettings,
        "detection": DetectionSettings,
        "decision": DecisionSettings,
        "classification": ClassificationSettings,
        "evaluation": EvaluationSettings,
    }
    try:
        settings = read_sections(schemas)
        detection, decision = settings["detection"], settings["decision"]
        predictor = Predictor.load("models/best_model.pth").with_thresholds(
            detection.score_threshold, detection.nms_threshold, detection.max_detections
        )
        predictor = predictor.with_costs(decision.costs.confusions)
        scored = settings["data"], settings["evaluation"], settings["classification"].order, decision
        held_out = HeldOut(Path("build/prepared"), Path("build/splits.csv"), *scored)
        evaluated = evaluate(predictor, held_out, fit=detection.score_threshold == "auto", explain=True)
    except (ParamsError, PackedError, PredictorError, EvaluationError, ImageError) as error:
        sys.exit(str(error))
    evaluated.write("metrics", "reports/plots", "reports/results")


if __name__ == "__main__":
    main()
