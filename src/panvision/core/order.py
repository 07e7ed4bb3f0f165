"""The order of the class labels, for rooms that have no settings."""

import re
from collections.abc import Sequence

# The states of onions, as the demo datasets name them.
_ONIONS = ("raw", "translucent", "golden", "browned", "burnt")
_NUMBERED = re.compile(r"([0-9]{1,9})(?:[^0-9]|$)")


def find_order(order: Sequence[str] | None, labels: Sequence[str]) -> tuple[str, ...] | None:
    """Return the class labels from the first to the last; None if they have no order.

    `auto` is the order of the numbers that all labels begin with (`1_raw`, `2_golden`), or that of the demo's states if
    all labels are such; otherwise none.

    Args:
        order: the setting.
        labels: the class labels.

    Raises:
        ValueError: the order does not name each label once.
    """
    if not order or not labels:
        return None
    if order != "auto":
        if sorted(order) != sorted(labels):
            raise ValueError(
                f"classification.order is {list(order)}, the class labels are {list(labels)}; name each of them once, "
                "or set it to auto or null"
            )
        return tuple(order)
    numbers = [int(found[1]) for label in labels if (found := _NUMBERED.match(label))]
    if len(set(numbers)) == len(labels):
        return tuple(label for _, label in sorted(zip(numbers, labels, strict=True)))
    return tuple(sorted(labels, key=_ONIONS.index)) if set(labels) <= set(_ONIONS) else None
