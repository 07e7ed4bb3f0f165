"""Stage `export`: the checkpoint as one ONNX file, held to the checkpoint on test pictures."""

import sys

import source  # noqa: F401 -- first, so that panvision is this checkout's

from panvision.decoding.settings import DetectionSettings
from panvision.export.errors import ExportError
from panvision.export.settings import ExportSettings
from panvision.export.ship import ship
from panvision.inference.backend import PredictorError
from panvision.inference.predictor import Predictor
from panvision.ingest.packed import PackedError
from panvision.model.checkpoint import CheckpointError
from panvision.params import ParamsError, read_sections

CHECKPOINT = "models/best_model.pth"


def main() -> None:
    """Read models/best_model.pth and test pictures; write the ONNX file, its configuration and metrics/export.json."""
    try:
        settings = read_sections({"detection": DetectionSettings, "export": ExportSettings})
        detection = settings["detection"]
        # On the CPU: the same figures on every machine's next run, with or without a GPU.
        reference = Predictor.load(CHECKPOINT, "cpu").with_thresholds(
            detection.score_threshold, detection.nms_threshold, detection.max_detections
        )
        ship(
            CHECKPOINT,
            reference,
            settings["export"],
            prepared="build/prepared",
            splits="build/splits.csv",
            models="models",
            metrics="metrics",
        )
    except (ParamsError, PackedError, CheckpointError, PredictorError, ExportError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
