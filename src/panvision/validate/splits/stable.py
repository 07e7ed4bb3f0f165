"""Assignment of groups by their own hashes, so that an image stays in its split when others are added."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from panvision.dataset.packed import SPLITS
from panvision.validate.splits.units import TEST, TRAIN, VAL, WHOLE, Feature, Places, Unit

# A class with this many groups gets an image in val and in test.
_ENOUGH_GROUPS = 3

Spans = Mapping[int, tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Move:
    """A unit that chance alone would have left elsewhere.

    Attributes:
        unit: its number.
        source, target: the places.
        feature: the dataset or class that lacked an image in `target`.
    """

    unit: int
    source: int
    target: int
    feature: Feature


def deal_by_hash(units: Sequence[Unit], places: Places) -> tuple[list[int], list[Move]]:
    """Return the place of each unit, and the units that are not where their draw alone would put them.

    A unit goes to the place whose interval of [0, 1) contains its draw. The intervals of the places it may go to have
    lengths in proportion to their shares. Other units have no influence, so shares are met on average only.

    One correction: a dataset without any image in a place is topped up. So is a class that lacks one in train, or a
    class of three groups or more that lacks one in val or test (with k folds: a class is in as many folds as it has
    groups, if possible). Each time one unit is moved. It must not empty another place of a dataset or class if there is
    a choice (but train comes first). Then the one counts that fills most gaps, from where there are most beyond the
    share, with the draw nearest to the interval.

    Args:
        units: in the order of their draws.
        places: the splits or folds.
    """
    spans = {choices: _spans(choices, places) for choices in {unit.choices for unit in units}}
    drawn = [_drawn(unit, spans[unit.choices]) for unit in units]
    top_up = _TopUp(units, places, spans, drawn)
    if places.names == SPLITS:
        for place, fewest in ((TRAIN, 1), (TEST, _ENOUGH_GROUPS), (VAL, _ENOUGH_GROUPS)):
            top_up.run((place,), fewest, first=place == TRAIN)
    else:
        top_up.run(tuple(range(len(places.names))), 1, first=False)
    moves = [
        Move(unit, drawn[unit], top_up.where[unit], feature)
        for unit, feature in sorted(top_up.reasons.items())
        if top_up.where[unit] != drawn[unit]
    ]
    return top_up.where, moves


def _spans(choices: tuple[int, ...], places: Places) -> Spans:
    """Return the interval of each choice, in the order of the line."""
    order = [place for place in places.line if place in choices]
    ends = list(accumulate(places.shares[place] for place in order))
    edges = [0.0, *(end / ends[-1] for end in ends[:-1]), 1.0]
    return {place: (edges[number], edges[number + 1]) for number, place in enumerate(order)}


def _drawn(unit: Unit, spans: Spans) -> int:
    return list(spans)[bisect_right([low for low, _ in spans.values()], unit.draw) - 1]


class _TopUp:
    """Moves single units to places that lack a dataset or a class.

    Attributes:
        where: the place of each unit.
        reasons: the feature that each moved unit was moved for.
    """

    def __init__(
        self, units: Sequence[Unit], places: Places, spans: Mapping[tuple[int, ...], Spans], drawn: Sequence[int]
    ) -> None:
        self.where = list(drawn)
        self.reasons: dict[int, Feature] = {}
        self._units, self._spans, self._shares = units, spans, places.shares
        # Numbers of the units with a feature, and how many each place has.
        self._holding: dict[Feature, list[int]] = defaultdict(list)
        self._counts: dict[Feature, list[int]] = defaultdict(lambda: [0] * len(places.names))
        for number, unit in enumerate(units):
            for feature, _ in unit.counted:
                self._holding[feature].append(number)
                self._counts[feature][drawn[number]] += 1
        self._sets = {feature for feature in self._counts if feature[1] == WHOLE}
        self._classes = {feature for feature in self._counts if feature[1] not in (WHOLE, "")}

    def run(self, places: Sequence[int], fewest: int, *, first: bool) -> None:
        """Fill some places, first those of the datasets, then those of the classes.

        Args:
            places: the places.
            fewest: a class with fewer groups has no claim to them.
            first: they come before all others, which may be emptied for them.
        """
        claims = {feature for feature in self._classes if len(self._holding[feature]) >= fewest}
        for feature in (*sorted(self._sets), *sorted(claims)):
            counts = self._counts[feature]
            while lacking := [place for place in places if counts[place] == 0]:
                found = self._best(feature, lacking, self._sets | claims, first=first)
                if found is None:
                    break
                number, place = found
                for other, _ in self._units[number].counted:
                    self._counts[other][self.where[number]] -= 1
                    self._counts[other][place] += 1
                self.where[number], self.reasons[number] = place, feature

    def _best(
        self, feature: Feature, lacking: Sequence[int], claims: set[Feature], *, first: bool
    ) -> tuple[int, int] | None:
        """Return the unit to move and its new place, or None if no unit can be spared."""
        best: tuple[tuple[float, ...], int, int] | None = None
        counts = self._counts[feature]
        for number in self._holding[feature]:
            unit, source = self._units[number], self.where[number]
            spans = self._spans[unit.choices]
            nearest = [(_distance(unit.draw, *spans[place]), place) for place in lacking if place in spans]
            if not nearest:
                continue
            distance, place = min(nearest)
            emptied = {other for other, _ in unit.counted if self._counts[other][source] == 1}
            sets, classes = len(emptied & self._sets), len(emptied & self._classes)
            if not first and (sets or (classes and feature not in self._sets)):
                continue
            filled = sum(other in claims and self._counts[other][place] == 0 for other, _ in unit.counted)
            surplus = counts[source] - self._shares[source] * sum(counts)
            key = (sets, classes, -filled, -surplus, distance)
            if best is None or (key, number) < best[:2]:
                best = key, number, place
        return None if best is None else best[1:]


def _distance(draw: float, low: float, high: float) -> float:
    return max(low - draw, draw - high, 0.0)
