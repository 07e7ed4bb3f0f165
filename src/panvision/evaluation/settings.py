"""The `evaluation` section of params.yaml."""

from typing import Annotated

from pydantic import Field

from panvision.core.params import Settings


class EvaluationSettings(Settings):
    """Scoring of the test split.

    Attributes:
        min_score: boxes down to this score enter mAP, which depends on the ranking, not on the reporting threshold.
        batch_size: images per forward pass.
        resamples: bootstrap resamples for the 95 % confidence intervals; 0: no intervals.
        seed: of the bootstrap.
    """

    min_score: Annotated[float, Field(ge=0.0, le=1.0)] = 0.001
    batch_size: Annotated[int, Field(ge=1, le=1024)] = 8
    resamples: Annotated[int, Field(ge=0, le=100_000)] = 1000
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
