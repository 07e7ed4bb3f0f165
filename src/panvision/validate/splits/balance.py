"""Assignment of groups that brings each dataset and class as close to its shares as possible."""

from collections import defaultdict
from collections.abc import Sequence

from panvision.dataset.packed import SPLITS
from panvision.validate.copies.groups import Entry
from panvision.validate.splits.units import TEST, TRAIN, VAL, WHOLE, Feature, Places, Unit, features_of

# Cost if train, val or test lacks a class, or a place a whole dataset. The squared deviations from the wished shares
# are of the order of 1. Without training images nothing is learned, without test images nothing is measured. A fold is
# the test split once and the validation split once.
_ABSENT_CLASS = (100.0, 2.0, 3.0)
_ABSENT_FROM_FOLD = 5.0
_ABSENT_SET = 1e6
# The size of a dataset counts more than that of one of its classes.
_SET_WEIGHT = 2.0
# Passes over all groups that look for a better place; later ones hardly move anything.
_PASSES = 5


def deal_evenly(units: Sequence[Unit], entries: Sequence[Entry], places: Places) -> list[int]:
    """Return the place of each unit: the largest first, each where it is missing most, then moved while that helps.

    New images may move old ones.

    Args:
        units: in the order of their draws.
        entries: all images of all datasets.
        places: the splits or folds.
    """
    balance = _Balance(entries, places)
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
    """The number of images of each dataset and class in each place, and the cost of another one."""

    def __init__(self, entries: Sequence[Entry], places: Places) -> None:
        self._targets = _targets(entries, places)
        self._counts: dict[Feature, list[int]] = {feature: [0] * len(places.names) for feature in self._targets}
        absent_class = _ABSENT_CLASS if places.names == SPLITS else (_ABSENT_FROM_FOLD,) * len(places.names)
        absent_set = (_ABSENT_SET,) * len(places.names)
        self._absent = {feature: absent_set if feature[1] == WHOLE else absent_class for feature in self._targets}
        self._weights = {
            feature: (_SET_WEIGHT if feature[1] == WHOLE else 1.0) / max(sum(wished), 1.0)
            for feature, wished in self._targets.items()
        }

    def put(self, unit: Unit, place: int, sign: int = 1) -> None:
        """Count the unit's images to a place, or take them off (sign -1)."""
        for feature, amount in unit.counted:
            self._counts[feature][place] += sign * amount

    def neediest(self, unit: Unit) -> int:
        """Return the place whose counts are farthest below its wished shares in what the unit holds."""
        return min(unit.choices, key=lambda place: (round(self._deviation(unit, place), 9), place))

    def move(self, unit: Unit, place: int) -> int:
        """Move a unit from its place to the cheapest one, or leave it; return the place."""
        self.put(unit, place, -1)
        costs = {other: self._deviation(unit, other) - self._filled(unit, other) for other in unit.choices}
        best = min(unit.choices, key=lambda other: (round(costs[other], 9), other != place, other))
        self.put(unit, best)
        return best

    def _deviation(self, unit: Unit, place: int) -> float:
        """Return the growth of the weighted squared deviations, up to what is the same for each place."""
        return sum(
            self._weights[feature] * 2.0 * amount * (self._counts[feature][place] - self._targets[feature][place])
            for feature, amount in unit.counted
        )

    def _filled(self, unit: Unit, place: int) -> float:
        """Return the cost that is saved because the unit brings a dataset or class to a place that lacks it."""
        return sum(self._absent[feature][place] for feature, _ in unit.counted if self._counts[feature][place] == 0)


def _targets(entries: Sequence[Entry], places: Places) -> dict[Feature, list[float]]:
    """Return the wished count of each dataset and class in each place; a user's own val or test stays as it is."""
    given: dict[Feature, list[int]] = defaultdict(lambda: [0] * 4)  # train, val, test, none
    for entry in entries:
        for feature in features_of(entry):
            given[feature][SPLITS.index(entry.split) if entry.split else 3] += 1
    targets: dict[Feature, list[float]] = {}
    for feature, counts in given.items():
        total = float(sum(counts))
        targets[feature] = [total * share for share in places.shares]
        if places.names != SPLITS:
            continue
        for split in (VAL, TEST):
            if given[feature[0], WHOLE][split]:
                targets[feature][split] = float(counts[split])
        targets[feature][TRAIN] = max(total - targets[feature][VAL] - targets[feature][TEST], 0.0)
    return targets
