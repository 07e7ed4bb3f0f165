"""The `classification` section of params.yaml."""

from pydantic import field_validator

from panvision.core.params import Settings


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
