"""The `export` section of params.yaml."""

from typing import Annotated

from pydantic import Field

from panvision.params import Settings


class ExportSettings(Settings):
    """The ONNX file and how close it must be to the checkpoint.

    Attributes:
        opset: ONNX operator set.
        parity_images: test images that both models must agree on.
        max_probability_error: largest allowed difference of any probability (mask, box score, state).
        max_box_error: largest allowed difference of any decoded box edge, in packed pixels.
    """

    opset: Annotated[int, Field(ge=18, le=23)] = 18
    parity_images: Annotated[int, Field(ge=1)] = 16
    max_probability_error: Annotated[float, Field(gt=0.0, lt=1.0)] = 1e-3
    max_box_error: Annotated[float, Field(gt=0.0)] = 0.05
