"""Train, val and test over all three sets at once: no photo on two sides, each class in proportion."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from panvision.ingest.groups import Entry
from panvision.ingest.packed import SPLITS, Task
from panvision.ingest.problems import IngestError, Problem, problem
from panvision.ingest.settings import SplitSettings

_TRAIN, _VAL, _TEST = range(3)

# What it costs that a split lacks a class, or a whole set, beside the squared deviations from the wished shares,
# which are of the order of 1: without training images nothing is learned, without test images nothing is known.
_ABSENT_CLASS = (100.0, 2.0, 3.0)
_ABSENT_SET = (1e6, 1e6, 1e6)
# A set's size counts more than one of its classes.
_SET_WEIGHT = 2.0
# Passes over all groups that look for a better place; later ones hardly move anything.
_PASSES = 5

# A set, and one of its traits; _SIZE stands for the number of its images.
_Feature = tuple[Task, str]
_SIZE = "\0size"


@dataclass(frozen=True)
class Assignment:
    """The split of each entry, and what is wrong with it."""

    splits: list[str]
    problems: list[Problem]


@dataclass(frozen=True, eq=False)
class _Unit:
    """Images that go to one split together.

    Attributes:
        rows: which entries.
        allowed: the splits they may go to.
        features: what they count for (numbers of sets and classes), and how often.
    """

    rows: list[int]
    allowed: list[int]
    features: npt.NDArray[np.int64]
    amounts: npt.NDArray[np.float64]


def assign_splits(entries: Sequence[Entry], groups: Sequence[str], settings: SplitSettings) -> Assignment:
    """Give each image `train`, `val` or `test`, whole groups at a time.

    Users' own splits stand: a set that has all three keeps them; one that lacks val or test has it taken out of
    train. Images linked to a user's split follow it, and groups that the users' splits tear apart are reported.
    The rest is dealt out largest group first, each to where it is missing most, then moved while that helps.

    Args:
        entries: all images of all sets.
        groups: the group of each.
        settings: wished shares and seed.

    Raises:
        IngestError: a set cannot be split in three.
    """
    numbers = _number_features(entries)
    units = _units(entries, groups, numbers)
    balance = _Balance(entries, numbers, settings)
    where = [unit.allowed[0] for unit in units]
    movable = [number for number, unit in enumerate(units) if len(unit.allowed) > 1]
    movable.sort(key=lambda number: (-len(units[number].rows), _shuffled(groups[units[number].rows[0]], settings.seed)))
    for unit in units:
        if len(unit.allowed) == 1:
            balance.put(unit, unit.allowed[0])
    for number in movable:
        where[number] = balance.neediest(units[number])
        balance.put(units[number], where[number])
    for _ in range(_PASSES):
        before = list(where)
        for number in movable:
            where[number] = balance.move(units[number], where[number])
        if where == before:
            break
    splits = [""] * len(entries)
    for unit, split in zip(units, where, strict=True):
        for row in unit.rows:
            splits[row] = SPLITS[split]
    _check(entries, groups, splits)
    return Assignment(splits, [*_leaks(entries, groups, splits), *_absent_classes(entries, splits)])


def _number_features(entries: Sequence[Entry]) -> dict[_Feature, int]:
    """A number for each set (its size) and for each trait within a set."""
    keys = {(entry.task, trait) for entry in entries for trait in (_SIZE, *entry.traits)}
    return {key: number for number, key in enumerate(sorted(keys))}


def _units(entries: Sequence[Entry], groups: Sequence[str], numbers: dict[_Feature, int]) -> list[_Unit]:
    """The groups, or the parts of them that the users' splits pin to different sides."""
    allowed = _allowed(entries)
    members: dict[str, list[int]] = defaultdict(list)
    for row, group in enumerate(groups):
        members[group].append(row)
    units: list[_Unit] = []
    for rows in members.values():
        pinned = Counter(min(allowed[row]) for row in rows if len(allowed[row]) == 1)
        parts: dict[frozenset[int], list[int]] = defaultdict(list)
        for row in rows:
            parts[_choice(row, rows, pinned, allowed)].append(row)
        units += [_unit(part, sorted(choice), entries, numbers) for choice, part in parts.items()]
    return units


def _allowed(entries: Sequence[Entry]) -> list[frozenset[int]]:
    """The splits that each image may go to: the user's, any if there is none, a missing one if it is `train`."""
    given: dict[Task, set[str]] = defaultdict(set)
    for entry in entries:
        given[entry.task].add(entry.split)
    anywhere = frozenset(range(3))
    allowed: list[frozenset[int]] = []
    for entry in entries:
        missing = {number for number, split in enumerate(SPLITS) if split not in given[entry.task]}
        if not entry.split:
            allowed.append(anywhere)
        elif entry.split == "train":
            allowed.append(frozenset({_TRAIN} | missing))
        else:
            allowed.append(frozenset({_side(entry.split)}))
    return allowed


def _choice(row: int, rows: list[int], pinned: Counter[int], allowed: list[frozenset[int]]) -> frozenset[int]:
    """Where an image may go, given its group: with those of the group that cannot move, if it may."""
    if len(allowed[row]) == 1:
        return allowed[row]
    if not pinned:
        return frozenset.intersection(*(allowed[other] for other in rows))
    followed = sorted(pinned.keys() & allowed[row], key=lambda split: (-pinned[split], split))
    return frozenset({followed[0] if followed else _TRAIN})


def _unit(rows: list[int], allowed: list[int], entries: Sequence[Entry], numbers: dict[_Feature, int]) -> _Unit:
    amounts = Counter(numbers[entries[row].task, trait] for row in rows for trait in (_SIZE, *entries[row].traits))
    return _Unit(rows, allowed, np.array(list(amounts), np.int64), np.array(list(amounts.values()), np.float64))


class _Balance:
    """How many images of each set and class each split holds, and what another one costs."""

    def __init__(self, entries: Sequence[Entry], numbers: dict[_Feature, int], settings: SplitSettings) -> None:
        self._counts = np.zeros((len(numbers), 3))
        self._targets = _targets(entries, numbers, settings)
        totals = self._targets.sum(axis=1)
        is_set = np.array([trait == _SIZE for _, trait in numbers])
        self._weights = np.where(is_set, _SET_WEIGHT, 1.0) / np.maximum(totals, 1.0)
        self._absent = np.where(is_set[:, None], _ABSENT_SET, _ABSENT_CLASS)

    def put(self, unit: _Unit, split: int) -> None:
        """Count the unit's images to a split."""
        self._counts[unit.features, split] += unit.amounts

    def neediest(self, unit: _Unit) -> int:
        """The allowed split whose counts are farthest below its wished shares in what the unit holds."""
        return min(unit.allowed, key=lambda split: (self._deviation(unit, split), split))

    def move(self, unit: _Unit, split: int) -> int:
        """Move a unit out of its split to the cheapest one, or leave it; returns where it is."""
        self._counts[unit.features, split] -= unit.amounts
        costs = {other: self._deviation(unit, other) - self._filled(unit, other) for other in unit.allowed}
        best = min(unit.allowed, key=lambda other: (round(costs[other], 9), other != split, other))
        self.put(unit, best)
        return best

    def _deviation(self, unit: _Unit, split: int) -> float:
        """Growth of the weighted squared deviations, up to what is the same for each split."""
        gap = self._counts[unit.features, split] - self._targets[unit.features, split]
        return float(np.sum(self._weights[unit.features] * 2.0 * gap * unit.amounts))

    def _filled(self, unit: _Unit, split: int) -> float:
        """What is saved because the unit brings a set or class to a split that lacks it."""
        lacking = self._counts[unit.features, split] < 0.5
        return float(np.sum(self._absent[unit.features, split] * lacking))


def _targets(
    entries: Sequence[Entry], numbers: dict[_Feature, int], settings: SplitSettings
) -> npt.NDArray[np.float64]:
    """Wished count of each set and class in each split, (features, 3); what a user's own val or test holds stands."""
    given = np.zeros((len(numbers), 4))
    for entry in entries:
        column = _side(entry.split) if entry.split else 3
        for trait in (_SIZE, *entry.traits):
            given[numbers[entry.task, trait], column] += 1
    totals = given.sum(axis=1)
    targets = np.zeros((len(numbers), 3))
    own = {(task, split): given[numbers[task, _SIZE], split] > 0 for task, _ in numbers for split in (_VAL, _TEST)}
    for (task, _), row in numbers.items():
        for split, share in ((_VAL, settings.val), (_TEST, settings.test)):
            targets[row, split] = given[row, split] if own[task, split] else share * totals[row]
    targets[:, _TRAIN] = np.maximum(totals - targets[:, _VAL] - targets[:, _TEST], 0.0)
    return targets


def _side(split: str) -> int:
    return next(number for number, name in enumerate(SPLITS) if name == split)


def _shuffled(group: str, seed: int) -> str:
    """A random order that does not change for old groups when new ones come."""
    return hashlib.sha256(f"{seed}:{group}".encode()).hexdigest()


def _check(entries: Sequence[Entry], groups: Sequence[str], splits: list[str]) -> None:
    """Raise IngestError for every set with an empty split."""
    faults: list[str] = []
    for task in sorted({entry.task for entry in entries}):
        rows = [row for row, entry in enumerate(entries) if entry.task == task]
        lacking = [split for split in SPLITS if split not in {splits[row] for row in rows}]
        if lacking:
            count = len({groups[row] for row in rows})
            faults.append(
                f"{task}: nothing is left for {' and '.join(lacking)}: {len(rows)} images in {count} groups of the "
                "same photos; add images, lower split.near_duplicate_bits, or give train/, valid/ and test/ folders"
            )
    if faults:
        raise IngestError("\n".join(faults))


def _leaks(entries: Sequence[Entry], groups: Sequence[str], splits: list[str]) -> list[Problem]:
    """Groups on two sides, which only the users' own splits can cause."""
    sides: dict[str, dict[str, str]] = defaultdict(dict)
    for entry, group, split in zip(entries, groups, splits, strict=True):
        sides[group].setdefault(split, f"{entry.task}/{entry.file}")
    problems: list[Problem] = []
    for found in sides.values():
        if len(found) > 1:
            places = ", ".join(f"{found[split]} in {split}" for split in SPLITS if split in found)
            problems.append(problem("split_leak", min(found.values()), f"the same photo on two sides: {places}"))
    return problems


def _absent_classes(entries: Sequence[Entry], splits: list[str]) -> list[Problem]:
    """Classes without an image in some split."""
    present: dict[_Feature, Counter[str]] = defaultdict(Counter)
    for entry, split in zip(entries, splits, strict=True):
        for trait in entry.traits:
            present[entry.task, trait][split] += 1
    return [
        problem("class_absent", task, f"{trait!r}, with {counts.total()} images, has none in {split}")
        for (task, trait), counts in sorted(present.items())
        for split in SPLITS
        if counts[split] == 0 and trait and task != "segmentation"
    ]
