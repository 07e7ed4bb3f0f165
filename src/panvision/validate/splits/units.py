"""Units of the split: images that stay together, the places they may go to, and what they count for."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from panvision.core.tasks import Dataset
from panvision.dataset.packed import SPLITS
from panvision.validate.copies.groups import Entry
from panvision.validate.settings import SplitSettings

TRAIN, VAL, TEST = range(3)

# A dataset and one of its traits; WHOLE: all its images.
Feature = tuple[Dataset, str]
WHOLE = "\0whole"

# Split of images by dataset and file.
Pins = Mapping[tuple[Dataset, str], str]


@dataclass(frozen=True)
class Places:
    """The three splits in the order of SPLITS, or k folds.

    Attributes:
        names: their names in messages.
        shares: wished fraction of the images in each; they sum to 1.
        line: their order along [0, 1): a group goes where its draw falls.
    """

    names: tuple[str, ...]
    shares: tuple[float, ...]
    line: tuple[int, ...]

    @classmethod
    def of(cls, settings: SplitSettings) -> Self:
        """Return the places that the settings ask for."""
        k = settings.folds
        if k:
            return cls(tuple(f"fold {number}" for number in range(k)), (1 / k,) * k, tuple(range(k)))
        return cls(SPLITS, (1.0 - settings.val - settings.test, settings.val, settings.test), (TEST, VAL, TRAIN))


@dataclass(frozen=True, slots=True, eq=False)
class Unit:
    """Images that go to one place together: a group, or a part of one that the users' own splits tear apart.

    Attributes:
        rows: the entries, by dataset and file.
        choices: the places they may go to, ascending.
        draw: a number in [0, 1) from the hash of the group.
        counted: the features they count for, ascending, each with the number of images.
    """

    rows: list[int]
    choices: tuple[int, ...]
    draw: float
    counted: tuple[tuple[Feature, int], ...]


def features_of(entry: Entry) -> list[Feature]:
    """Return the features that an image counts for."""
    return [(entry.task, trait) for trait in (WHOLE, *entry.traits)]


def make_units(
    entries: Sequence[Entry], groups: Sequence[str], choices: Sequence[tuple[int, ...]], seed: int
) -> list[Unit]:
    """Return units in ascending order of their draw, which does not depend on the order of the entries.

    Args:
        entries: all images of all datasets.
        groups: the group of each.
        choices: the places that each may go to.
        seed: seed of the draws.
    """
    parts: dict[tuple[str, tuple[int, ...]], list[int]] = defaultdict(list)
    for row in sorted(range(len(entries)), key=lambda row: entries[row].name):
        parts[groups[row], choices[row]].append(row)
    # Most units count for the same features: they share the tuples.
    shared: dict[tuple[tuple[Feature, int], ...], tuple[tuple[Feature, int], ...]] = {}
    units: list[Unit] = []
    for (_, choice), rows in parts.items():
        counted = tuple(sorted(Counter(feature for row in rows for feature in features_of(entries[row])).items()))
        draw = _draw(min(_identity(entries[row]) for row in rows), seed)
        units.append(Unit(rows, choice, draw, shared.setdefault(counted, counted)))
    return sorted(units, key=lambda unit: (unit.draw, entries[unit.rows[0]].name))


def choices_of(entries: Sequence[Entry], groups: Sequence[str], pins: Pins) -> list[tuple[int, ...]]:
    """Return the splits that each image may go to by the users' folders, the pins, and the images it is linked to.

    Folders take precedence over pins, and pins over chance. A whole group has one choice, unless folders tear it apart:
    then the rest of the group follows the split with most images. If pins contradict each other, the group goes where
    most of its pins say; of equally many, the first of train, val and test wins.
    """
    allowed = _by_folder(entries)
    if not pins and len(set(allowed)) == 1:
        return allowed
    pinned = [SPLITS.index(pins[key]) if (key := (entry.task, entry.file)) in pins else None for entry in entries]
    members: dict[str, list[int]] = defaultdict(list)
    for row, group in enumerate(groups):
        members[group].append(row)
    choices = list(allowed)
    for rows in members.values():
        given = Counter(allowed[row][0] for row in rows if len(allowed[row]) == 1)
        # Without a given split every image may go to train, so this is never empty.
        common = tuple(sorted(set(allowed[rows[0]]).intersection(*(allowed[row] for row in rows))))
        votes = Counter(side for row in rows if (side := pinned[row]) is not None and side in common)
        for row in rows:
            if given:
                choices[row] = _follow(given, allowed[row], pinned[row])
            else:
                choices[row] = (_most(votes),) if votes else common
    return choices


def _by_folder(entries: Sequence[Entry]) -> list[tuple[int, ...]]:
    """Return the splits by folder alone: the user's, any if there is none, and from `train` also the missing ones."""
    given = {(entry.task, entry.split) for entry in entries}
    allowed: dict[tuple[Dataset, str], tuple[int, ...]] = {}
    for task, split in given:
        missing = {number for number, other in enumerate(SPLITS) if (task, other) not in given}
        own = {"": {TRAIN, VAL, TEST}, "train": {TRAIN} | missing}.get(split) or {SPLITS.index(split)}
        allowed[task, split] = tuple(sorted(own))
    return [allowed[entry.task, entry.split] for entry in entries]


def _follow(given: Counter[int], allowed: tuple[int, ...], pin: int | None) -> tuple[int, ...]:
    """Return the choice of an image whose group has one given split, or several."""
    if len(allowed) == 1:
        return allowed
    followed = Counter({side: given[side] for side in given if side in allowed})
    if pin is not None and pin in (followed or allowed):
        return (pin,)
    return (_most(followed) if followed else TRAIN,)


def _most(votes: Counter[int]) -> int:
    return min(votes, key=lambda side: (-votes[side], side))


def _identity(entry: Entry) -> str:
    """Return what stays the same of an image: its bytes; for Roboflow's exports, whose bytes vary, the photo's name.

    Hashes of bytes sort first, so that adding the export of an existing photo does not move it.
    """
    return f"photo {entry.photo}" if entry.roboflow else entry.sha256


def _draw(identity: str, seed: int) -> float:
    """Return a number in [0, 1) from the first 53 bits of a hash, which a double holds exactly."""
    digest = hashlib.sha256(f"{seed}:{identity}".encode()).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53
