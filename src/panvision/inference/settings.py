"""The `detection` section of params.yaml: the boxes that the shipped model reports."""

from typing import Annotated

from pydantic import Field

from panvision.core.params import Settings


class DetectionSettings(Settings):
    """Thresholds of inference; training and mAP do not use the score threshold.

    Attributes:
        score_threshold: boxes with a lower score are not reported.
        nms_threshold: of two boxes of one class with a larger IoU, the one with the lower score is dropped.
        max_detections: boxes kept per image, best first.
    """

    score_threshold: Annotated[float, Field(ge=0.0, le=1.0)] = 0.3
    nms_threshold: Annotated[float, Field(ge=0.0, le=1.0)] = 0.5
    max_detections: Annotated[int, Field(ge=1, le=1000)] = 100
