"""The `detection` section of params.yaml: which boxes the shipped model reports."""

from typing import Annotated

from pydantic import Field

from panvision.core.params import Settings


class DetectionSettings(Settings):
    """Thresholds of inference; training and mAP do not read the score threshold.

    Attributes:
        score_threshold: boxes scoring lower are not reported.
        nms_threshold: of two boxes of one class overlapping by more than this IoU, the lower-scored goes.
        max_detections: boxes kept per image, best first.
    """

    score_threshold: Annotated[float, Field(ge=0.0, le=1.0)] = 0.3
    nms_threshold: Annotated[float, Field(ge=0.0, le=1.0)] = 0.5
    max_detections: Annotated[int, Field(ge=1, le=1000)] = 100
