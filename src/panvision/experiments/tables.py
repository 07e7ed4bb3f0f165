"""Plain text tables with fixed columns."""

from collections.abc import Iterable, Sequence

LINE = 80  # characters


def table(widths: Sequence[int], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return rows as lines; a first cell equal to the one above is left empty.

    Args:
        widths: characters of each column; the last cell needs none.
        rows: their cells.
    """
    lines, above = [], ""
    for first, *others in rows:
        cells = ["" if first == above else first, *others]
        lines.append("".join(f"{cell:<{width}}" for cell, width in zip(cells, [*widths, 0], strict=True)).rstrip())
        above = first
    return lines


def number(value: float | None, form: str = ".3f", *, missing: str = "undefined") -> str:
    """Return a metric as text."""
    return missing if value is None else format(value, form)


def reason_text(reason: str | None) -> str:
    """Return the reason for a missing interval, as in `ci95_null`, as text; "" for an undefined metric."""
    return "" if reason in (None, "undefined") else reason.replace("_", " ")


def cut(text: str, longest: int) -> str:
    """Return text of at most `longest` characters, the last one an ellipsis where more followed."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
