"""The `export` section of params.yaml."""

from typing import Annotated

from pydantic import Field

from panvision.core.params import Settings


class ExportSettings(Settings):
    """The ONNX files, the limits of parity with the checkpoint, and the largest loss of INT8.

    Attributes:
        opset: ONNX operator set.
        parity_images: test images on which both models must agree.
        max_probability_error: largest allowed difference of any probability (mask, box score, state).
        max_box_error: largest allowed difference of any decoded box edge, in packed pixels.
        int8: also write the INT8 file.
        calibration_images: training images on which the ranges of INT8 are measured.
        rejected: largest fraction of good validation images that get no class label; None: every image gets one.
        max_drop: INT8 is not accepted if mIoU, mAP@0.5, mAP@[.5:.95] or accuracy loses more.
    """

    opset: Annotated[int, Field(ge=18, le=23)] = 18
    parity_images: Annotated[int, Field(ge=1)] = 16
    max_probability_error: Annotated[float, Field(gt=0.0, lt=1.0)] = 1e-3
    max_box_error: Annotated[float, Field(gt=0.0)] = 0.05
    int8: bool = True
    calibration_images: Annotated[int, Field(ge=1, le=100000)] = 128
    rejected: Annotated[float, Field(gt=0.0, le=0.5)] | None = 0.01
    max_drop: Annotated[float, Field(ge=0.0, le=1.0)] = 0.01
