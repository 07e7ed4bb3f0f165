"""What the split deals out: images that stay together, where they may go, and what they count for."""

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

# A set, and one of its traits; WHOLE stands for all images of the set.
Feature = tuple[Dataset, str]
WHOLE = "\0whole"

# Split of images by task and file.
Pins = Mapping[tuple[Dataset, str], str]


@dataclass(frozen=True)
class Places:
    """What images are dealt out to: the three splits in the order of SPLITS, or k folds.

    Attributes:
        names: how messages call them.
        shares: wished share of the images in each; they sum to 1.
        line: the order in which they lie along [0, 1), where a group's draw falls into one of them.
    """

    names: tuple[str, ...]
    shares: tuple[float, ...]
    line: tuple[int, ...]

    @classmethod
    def of(cls, settings: SplitSettings) -> Self:
        """The places that the settings ask for."""
        k = settings.folds
        if k:
            return cls(tuple(f"fold {number}" for number in range(k)), (1 / k,) * k, tuple(range(k)))
        return cls(SPLITS, (1.0 - settings.val - settings.test, settings.val, settings.test), (TEST, VAL, TRAIN))


@dataclass(frozen=True, slots=True, eq=False)
class Unit:
    """Images that go to one place together: a group, or a part of one that the users' own splits tear apart.

    Attributes:
        rows: which entries, by task and file.
        choices: the places they may go to, ascending.
        draw: what chance gives them, in [0, 1).
        counted: numbers of the features they count for, ascending, each with how many images do.
    """

    rows: list[int]
    choices: tuple[int, ...]
    draw: float
    counted: tuple[tuple[int, int], ...]


def number_features(entries: Sequence[Entry]) -> dict[Feature, int]:
    """A number for each set as a whole and for each trait within a set, ascending from 0."""
    kinds = {(entry.task, entry.traits) for entry in entries}
    keys = {(task, trait) for task, traits in kinds for trait in (WHOLE, *traits)}
    return {key: number for number, key in enumerate(sorted(keys))}


def make_units(
    entries: Sequence[Entry],
    groups: Sequence[str],
    choices: Sequence[tuple[int, ...]],
    *,
    numbers: Mapping[Feature, int],
    seed: int,
) -> list[Unit]:
    """Units in ascending order of their draw, which the order of the entries does not change.

    Args:
        entries: all images of all sets.
        groups: the group of each.
        choices: the places that each may go to.
        numbers: the number of each feature.
        seed: of the draws.
    """
    parts: dict[tuple[str, tuple[int, ...]], list[int]] = defaultdict(list)
    for row in sorted(range(len(entries)), key=lambda row: entries[row].name):
        parts[groups[row], choices[row]].append(row)
    # Most units count for the same: they share the tuples.
    shared: dict[tuple[tuple[int, int], ...], tuple[tuple[int, int], ...]] = {}
    units: list[Unit] = []
    for (_, choice), rows in parts.items():
        amounts = Counter(numbers[entries[row].task, trait] for row in rows for trait in (WHOLE, *entries[row].traits))
        counted = tuple(sorted(amounts.items()))
        draw = _draw(min(_identity(entries[row]) for row in rows), seed)
        units.append(Unit(rows, choice, draw, shared.setdefault(counted, counted)))
    return sorted(units, key=lambda unit: (unit.draw, entries[unit.rows[0]].name))


def choices_of(entries: Sequence[Entry], groups: Sequence[str], pins: Pins) -> list[tuple[int, ...]]:
    """The splits that each image may go to by the users' folders, the pins, and the images it is linked to.

    Folders stand above pins, and pins above chance. Whole groups have one choice, unless folders tear them apart:
    then the rest of the group follows the side with most images. Pins that part a group are outvoted: it goes where
    most of its pins say; of sides with equally many to the first one of train, val and test.
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
        if given:
            for row in rows:
                choices[row] = _follow(given, allowed[row], pinned[row])
            continue
        # Without a given side every image may go to train, so this is never empty.
        common = tuple(sorted(set(allowed[rows[0]]).intersection(*(allowed[row] for row in rows))))
        votes = Counter(side for row in rows if (side := pinned[row]) is not None and side in common)
        for row in rows:
            choices[row] = (_most(votes),) if votes else common
    return choices


def _by_folder(entries: Sequence[Entry]) -> list[tuple[int, ...]]:
    """By its folder alone: the user's split, any if there is none, and out of `train` also the missing ones."""
    given = {(entry.task, entry.split) for entry in entries}
    allowed: dict[tuple[Dataset, str], tuple[int, ...]] = {}
    for task, split in given:
        missing = {number for number, other in enumerate(SPLITS) if (task, other) not in given}
        own = {"": {TRAIN, VAL, TEST}, "train": {TRAIN} | missing}.get(split) or {SPLITS.index(split)}
        allowed[task, split] = tuple(sorted(own))
    return [allowed[entry.task, entry.split] for entry in entries]


def _follow(given: Counter[int], allowed: tuple[int, ...], pin: int | None) -> tuple[int, ...]:
    """The choice of an image whose group has a given side, or several."""
    if len(allowed) == 1:
        return allowed
    followed = Counter({side: given[side] for side in given if side in allowed})
    if pin is not None and pin in (followed or allowed):
        return (pin,)
    return (_most(followed) if followed else TRAIN,)


def _most(votes: Counter[int]) -> int:
    return min(votes, key=lambda side: (-votes[side], side))


def _identity(entry: Entry) -> str:
    """What stays the same of an image: its bytes, but of an export of Roboflow's, which differ each time, its photo.

    Hashes of bytes come first, so that the export of a photo that was there before does not move it.
    """
    return f"photo {entry.photo}" if entry.roboflow else entry.sha256


def _draw(identity: str, seed: int) -> float:
    """A number in [0, 1) from the first 53 bits of a hash, which a double holds exactly."""
    digest = hashlib.sha256(f"{seed}:{identity}".encode()).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53
