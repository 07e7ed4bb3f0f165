"""The `evaluation` section of params.yaml."""

from typing import Annotated

from pydantic import Field

from panvision.params import Settings


class EvaluationSettings(Settings):
    """How the test split is scored.

    Attributes:
        min_score: boxes down to this score enter mAP (the ranking matters, not the reporting threshold).
        batch_size: images per forward pass.
    """

    min_score: Annotated[float, Field(ge=0.0, le=1.0)] = 0.001
    batch_size: Annotated[int, Field(ge=1, le=1024)] = 8
