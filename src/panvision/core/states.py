"""The `classification` section of params.yaml."""

from typing import Annotated, Literal

from pydantic import BeforeValidator

from panvision.core.params import Settings


def _checked(order: object) -> object:
    """Refuse what is neither `auto`, null nor a list of different names, in one line."""
    if order is None or order == "auto":
        return order
    if not isinstance(order, (list, tuple)) or not all(isinstance(name, str) for name in order):
        raise ValueError("expected auto, null, or a list of the class labels from the first to the last")
    twice = [name for name in order if order.count(name) > 1]
    if twice:
        raise ValueError(f"duplicate state {twice[0]!r}; name every state once")
    return tuple(order)


class ClassificationSettings(Settings):
    """Properties of the class labels.

    Attributes:
        order: every class label once, from the first to the last; None if they have no order; `auto`: see
            `order.find_order`.
    """

    order: Annotated[tuple[str, ...] | Literal["auto"] | None, BeforeValidator(_checked)] = "auto"
