"""Dealing groups out so that each set and class comes as close to its shares as it can."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from panvision.core.tasks import Dataset
from panvision.dataset.packed import SPLITS
from panvision.validate.copies.groups import Entry
from panvision.validate.splits.units import TEST, TRAIN, VAL, WHOLE, Feature, Places, Unit

# What it costs that train, val or test lacks a class, or a place a whole set, beside the squared deviations from the
# wished shares, which are of the order of 1: without training images nothing is learned, without test images
# nothing is known. A fold is once the test split and once the validation split.
_ABSENT_CLASS = (100.0, 2.0, 3.0)
_ABSENT_FROM_FOLD = 5.0
_ABSENT_SET = 1e6
# A set's size counts more than one of its classes.
_SET_WEIGHT = 2.0
# Passes over all groups that look for a better place; later ones hardly move anything.
_PASSES = 5


def deal_evenly(
    units: Sequence[Unit], entries: Sequence[Entry], numbers: Mapping[Feature, int], places: Places
) -> list[int]:
    """The place of each unit: largest first, each to where it is missing most, then moved while that helps.

    New images deal the old ones out anew.

    Args:
        units: in the order of their draws.
        entries: all images of all sets.
        numbers: the number of each feature.
        places: what the units are dealt out to.
    """
    balance = _Balance(entries, numbers, places)
    where = [unit.choices[0] for unit in units]
    movable = [number for number, unit in enumerate(units) if len(unit.choices) > 1]
    movable.sort(key=lambda number: -len(units[number].rows))
    for unit in units:
        if len(unit.choices) == 1:
            balance.put(unit, unit.choices[0])
    for number in movable:
        where[number] = balance.neediest(units[number])
        balance.put(units[number], where[number])
    for _ in range(_PASSES):
        before = list(where)
        for number in movable:
            where[number] = balance.move(units[number], where[number])
        if where == before:
            break
    return where


class _Balance:
    """How many images of each set and class each place holds, and what another one costs."""

    def __init__(self, entries: Sequence[Entry], numbers: Mapping[Feature, int], places: Places) -> None:
        targets = _targets(entries, numbers, places)
        # Lists [feature][place]: a unit counts for a handful of features, too few for NumPy to be faster.
        self._targets: list[list[float]] = targets.tolist()
        self._counts = [[0] * len(places.names) for _ in numbers]
        absent_class = _ABSENT_CLASS if places.names == SPLITS else (_ABSENT_FROM_FOLD,) * len(places.names)
        absent_set = (_ABSENT_SET,) * len(places.names)
        self._absent = [absent_set if trait == WHOLE else absent_class for _, trait in numbers]
        weights = [_SET_WEIGHT if trait == WHOLE else 1.0 for _, trait in numbers]
        self._weights = [weight / max(sum(row), 1.0) for weight, row in zip(weights, self._targets, strict=True)]

    def put(self, unit: Unit, place: int, sign: int = 1) -> None:
        """Count the unit's images to a place, or take them off (sign -1)."""
        for feature, amount in unit.counted:
            self._counts[feature][place] += sign * amount

    def neediest(self, unit: Unit) -> int:
        """The place whose counts are farthest below its wished shares in what the unit holds."""
        return min(unit.choices, key=lambda place: (round(self._deviation(unit, place), 9), place))

    def move(self, unit: Unit, place: int) -> int:
        """Move a unit out of its place to the cheapest one, or leave it; returns where it is."""
        self.put(unit, place, -1)
        costs = {other: self._deviation(unit, other) - self._filled(unit, other) for other in unit.choices}
        best = min(unit.choices, key=lambda other: (round(costs[other], 9), other != place, other))
        self.put(unit, best)
        return best

    def _deviation(self, unit: Unit, place: int) -> float:
        """Growth of the weighted squared deviations, up to what is the same for each place."""
        return sum(
            self._weights[feature] * 2.0 * amount * (self._counts[feature][place] - self._targets[feature][place])
            for feature, amount in unit.counted
        )

    def _filled(self, unit: Unit, place: int) -> float:
        """What is saved because the unit brings a set or class to a place that lacks it."""
        return sum(self._absent[feature][place] for feature, _ in unit.counted if self._counts[feature][place] == 0)


def _targets(entries: Sequence[Entry], numbers: Mapping[Feature, int], places: Places) -> npt.NDArray[np.float64]:
    """Wished count of each set and class in each place, (F, P); what a user's own val or test holds stands."""
    given = np.zeros((len(numbers), 4))  # train, val, test, none
    for entry in entries:
        column = SPLITS.index(entry.split) if entry.split else 3
        for trait in (WHOLE, *entry.traits):
            given[numbers[entry.task, trait], column] += 1
    totals = given.sum(axis=1)
    targets: npt.NDArray[np.float64] = totals[:, None] * np.array(places.shares)
    if places.names != SPLITS:
        return targets
    own: set[tuple[Dataset, int]] = {
        (task, split) for task, _ in numbers for split in (VAL, TEST) if given[numbers[task, WHOLE], split] > 0
    }
    for (task, _), row in numbers.items():
        for split in (VAL, TEST):
            if (task, split) in own:
                targets[row, split] = given[row, split]
    targets[:, TRAIN] = np.maximum(totals - targets[:, VAL] - targets[:, TEST], 0.0)
    return targets
