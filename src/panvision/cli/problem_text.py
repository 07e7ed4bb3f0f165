"""Problems of raw data as text for a terminal: by kind, errors first, files with their reasons."""

import itertools
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from panvision.dataset.problems import Problem
    from panvision.validate.changes import Change

SEVERITIES = ("error", "warning", "fixed")
WIDTH = 80
# Files shown of a kind unless all are asked for.
FEW = 5


def by_severity(problems: Iterable["Problem"]) -> list["Problem"]:
    """Return the errors first, then by code and file."""
    return sorted(problems, key=lambda found: (SEVERITIES.index(found.severity), found))


def count_severities(problems: Iterable["Problem"]) -> dict[str, int]:
    """Count the problems of each severity."""
    counts: Counter[str] = Counter(found.severity for found in problems)
    return {severity: counts[severity] for severity in SEVERITIES}


def problem_lines(problems: Iterable["Problem"], *, limit: int | None) -> Iterator[str]:
    """Yield a headline for each kind, and below it its files with their reasons.

    Only a path longer than the line exceeds `WIDTH` columns: it is never broken, so that it can be copied.

    Args:
        problems: of all datasets.
        limit: files shown of a kind; None: all.
    """
    kinds = itertools.groupby(by_severity(problems), key=lambda found: (found.severity, found.code))
    for (severity, code), kind in kinds:
        own = list(kind)
        yield ""
        yield from _wrapped(f"{severity} {code} {len(own)}: {own[0].remedy}", "", "    ")
        for found in own[:limit]:
            yield from _file_lines(printable(found.file), printable(found.reason))
        yield from _more_line(len(own), limit)


def change_lines(changes: Iterable["Change"], *, limit: int | None) -> Iterator[str]:
    """Yield a headline for each kind of change, sorted by kind, and below it its files with what differs.

    Args:
        changes: between two versions of the datasets.
        limit: files shown of a kind; None: all.
    """
    for kind, group in itertools.groupby(changes, key=lambda change: change.kind):
        own = list(group)
        yield ""
        yield f"{kind} {len(own)}"
        for each in own[:limit]:
            yield from _file_lines(printable(f"{each.dataset}/{each.image.file}"), printable(each.reason))
        yield from _more_line(len(own), limit)


def count_line(problems: Iterable["Problem"]) -> str:
    """Return the counts in words."""
    counts = count_severities(problems)
    if not any(counts.values()):
        return "no problems"
    words = [f"{counts[noun]} {noun}{'s' * (counts[noun] != 1)}" for noun in ("error", "warning")]
    remedy = "; fix the errors before training" if counts["error"] else ""
    return f"{', '.join(words)}, {counts['fixed']} fixed{remedy}"


def printable(text: str) -> str:
    """Escape line ends and control characters, which would rewrite the terminal."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def _more_line(count: int, limit: int | None) -> Iterator[str]:
    if limit is not None and count > limit:
        yield f"  … and {count - limit} more (--all shows them)"


def _file_lines(file: str, reason: str) -> list[str]:
    line = f"  {file}: {reason}"
    return [line] if len(line) <= WIDTH else [f"  {file}:", *_wrapped(reason, "      ", "      ")]


def _wrapped(text: str, first: str, further: str) -> list[str]:
    return textwrap.wrap(
        text, WIDTH, initial_indent=first, subsequent_indent=further, break_long_words=False, break_on_hyphens=False
    )
