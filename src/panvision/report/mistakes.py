"""Mistakes of the model on an image, read from its results: kind, text with numbers, and weight."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

# A mask or a box with a smaller IoU does not count as found; a box with an IoU below TIGHT is loose.
FOUND, TIGHT = 0.5, 0.75
# A mask is ragged from this error of its boundary on (95th percentile, fraction of the image's diagonal), or below
# this IoU.
RAGGED_EDGE, RAGGED_IOU = 0.02, 0.9
# A right class label with a smaller probability is unsure.
SURE = 0.5


class Kind(NamedTuple):
    """A kind of mistake: its name, and what it means."""

    name: str
    meaning: str


MISSED = Kind("missed", "what is there is not found")
WRONG_CLASS = Kind("wrong class", "found, but called something else")
FALSE_ALARM = Kind("false alarm", "something is found where it is not, or twice")
LOOSE_BOX = Kind("loose box", f"found, but box and object overlap (IoU) by less than {TIGHT}")
RAGGED_MASK = Kind(
    "ragged mask",
    f"IoU below {RAGGED_IOU}, or a twentieth of the boundary is off by more than {RAGGED_EDGE:.0%} of the diagonal",
)
UNSURE = Kind("unsure", f"right, with a probability below {SURE:.0%}")
# In the order of the report; kinds of other tasks follow.
KINDS = (MISSED, WRONG_CLASS, FALSE_ALARM, LOOSE_BOX, RAGGED_MASK, UNSURE)


@dataclass(frozen=True)
class Mistake:
    """One mistake.

    Attributes:
        kind: for example one of `KINDS`.
        text: a sentence with numbers.
        weight: above 0 and at most 1.
    """

    kind: Kind
    text: str
    weight: float = 1.0


@dataclass(frozen=True)
class Mistakes:
    """Mistakes on one image.

    Attributes:
        file: path of the image below `<data.root>/<dataset>`.
        badness: larger for a worse image; comparable within a task.
        mistakes: at least one, the most important first.
    """

    file: str
    badness: float
    mistakes: list[Mistake]

    @property
    def kinds(self) -> list[Kind]:
        """Each kind once."""
        return list(dict.fromkeys(mistake.kind for mistake in self.mistakes))


@dataclass(frozen=True)
class Verdict:
    """Caption of a prediction.

    Attributes:
        short: for example `IoU 0.93`.
        right: True if the prediction counts as right.
        true, predicted: truth and prediction in words, empty if the drawing shows them better.
    """

    short: str
    right: bool
    true: str = ""
    predicted: str = ""


def rank_images(found: Sequence[Mistakes | None]) -> list[Mistakes]:
    """Sort the images with mistakes, the worst first, ties by file name."""
    return sorted((each for each in found if each is not None), key=lambda each: (-each.badness, each.file))


def count_kinds(found: Sequence[Mistakes]) -> list[tuple[Kind, int]]:
    """Count the images with each kind of mistake; kinds without an image are left out."""
    counts = Counter(kind for each in found for kind in each.kinds)
    return [(kind, counts[kind]) for kind in in_order(counts)]


def in_order(kinds: Iterable[Kind]) -> list[Kind]:
    """Sort kinds of mistakes in the order of the report."""
    return sorted(kinds, key=lambda kind: KINDS.index(kind) if kind in KINDS else len(KINDS))


def first_of_each_kind(ranked: Sequence[Mistakes]) -> list[Mistakes]:
    """Sort images: the first one of each most important mistake, then the second one of each, and so on."""
    seen: Counter[Kind] = Counter()
    turns = []
    for each in ranked:
        seen[each.kinds[0]] += 1
        turns.append(seen[each.kinds[0]])
    return [each for _, each in sorted(zip(turns, ranked, strict=True), key=lambda pair: pair[0])]


def percent(fraction: float) -> str:
    """Format a fraction; one that is not 0 never looks like 0, nor one below 1 like 1."""
    if 0.0 < fraction < 0.01:
        return "less than 1%"
    return f"{min(fraction, 0.99 if fraction < 1.0 else 1.0):.0%}"
