"""The `evaluation` and `classification` sections of params.yaml."""

from typing import Annotated

from pydantic import Field, field_validator

from panvision.core.params import Settings


class EvaluationSettings(Settings):
    """Scoring of the test split.

    Attributes:
        min_score: boxes down to this score enter mAP, which depends on the ranking, not on the reporting threshold.
        batch_size: images per forward pass.
    """

    min_score: Annotated[float, Field(ge=0.0, le=1.0)] = 0.001
    batch_size: Annotated[int, Field(ge=1, le=1024)] = 8


class ClassificationSettings(Settings):
    """Properties of the class labels.

    Attributes:
        order: every class label once, from the first to the last; None if they have no order.
    """

    order: tuple[str, ...] | None = None

    @field_validator("order")
    @classmethod
    def _each_once(cls, order: tuple[str, ...] | None) -> tuple[str, ...] | None:
        twice = [name for name in order or () if (order or ()).count(name) > 1]
        if twice:
            raise ValueError(f"duplicate state {twice[0]!r}; name every state once")
        return order
