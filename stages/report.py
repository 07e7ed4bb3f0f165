"""Stage report: data, metrics, curves and test pictures beside their truth as one HTML page."""

import sys
from pathlib import Path

import source  # noqa: F401 -- first, so that panvision is this checkout's

from panvision.core.files import write_text
from panvision.core.params import ParamsError, read_sections
from panvision.dataset.packed import PackedError
from panvision.inference.backend import PredictorError
from panvision.inference.predictor import Predictor
from panvision.inference.settings import DetectionSettings
from panvision.photos.pixels import ImageError
from panvision.photos.settings import DataSettings
from panvision.report.inputs import ReportError
from panvision.report.page import RunFiles, build_report
from panvision.report.settings import ReportSettings

FILES = RunFiles(
    prepared=Path("build/prepared"),
    splits=Path("build/splits.csv"),
    problems=Path("build/problems.csv"),
    config=Path("models/config.json"),
    metrics=Path("metrics"),
    reports=Path("reports"),
)
PAGE = "reports/report.html"


def main() -> None:
    """Read models/best_model.pth, the metrics and the curves; write the page."""
    schemas = {"data": DataSettings, "detection": DetectionSettings, "report": ReportSettings}
    try:
        settings = read_sections(schemas)
        detection = settings["detection"]
        predictor = Predictor.load("models/best_model.pth").with_thresholds(
            score_threshold=detection.score_threshold,
            nms_threshold=detection.nms_threshold,
            max_detections=detection.max_detections,
        )
        page = build_report(
            predictor,
            files=FILES,
            data=settings["data"],
            settings=settings["report"],
        )
    except (ParamsError, PackedError, PredictorError, ReportError, ImageError) as error:
        sys.exit(str(error))
    write_text(PAGE, page)
    print(f"written: {PAGE}")


if __name__ == "__main__":
    main()
