"""The `evaluation` and `classification` sections of params.yaml."""

from typing import Annotated

from pydantic import Field, field_validator

from panvision.core.params import Settings


class EvaluationSettings(Settings):
    """How the test split is scored.

    Attributes:
        min_score: boxes down to this score enter mAP (the ranking matters, not the reporting threshold).
        batch_size: images per forward pass.
        resamples: how often the test images are drawn anew for the confidence intervals; 0: no intervals.
        seed: decides these draws.
    """

    min_score: Annotated[float, Field(ge=0.0, le=1.0)] = 0.001
    batch_size: Annotated[int, Field(ge=1, le=1024)] = 8
    resamples: Annotated[int, Field(ge=0, le=100_000)] = 1000
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0


class ClassificationSettings(Settings):
    """What is known of the states.

    Attributes:
        order: every state once, from the first to the last, where they follow each other; None: they do not.
    """

    order: tuple[str, ...] | None = None

    @field_validator("order")
    @classmethod
    def _each_once(cls, order: tuple[str, ...] | None) -> tuple[str, ...] | None:
        twice = [name for name in order or () if (order or ()).count(name) > 1]
        if twice:
            raise ValueError(f"{twice[0]!r} stands there twice; name every state once")
        return order
