"""Dealing groups out by their own hashes, so that an image stays where it is when others come."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from panvision.dataset.packed import SPLITS
from panvision.validate.splits.units import TEST, TRAIN, VAL, WHOLE, Feature, Places, Unit

# A class of so many groups is given an image in val and in test.
_ENOUGH_GROUPS = 3


@dataclass(frozen=True, slots=True)
class Move:
    """A unit that chance alone would have left elsewhere.

    Attributes:
        unit: its number.
        source, target: the places.
        feature: the set or class that lacked an image in `target`.
    """

    unit: int
    source: int
    target: int
    feature: Feature


@dataclass(frozen=True, slots=True)
class _Stage:
    """Places that are topped up together; only a class of `fewest` groups has a claim to them.

    `first`: these come before all others, which may be emptied for them and are topped up later.
    """

    places: tuple[int, ...]
    fewest: int
    first: bool = False


def deal_by_hash(units: Sequence[Unit], numbers: Mapping[Feature, int], places: Places) -> tuple[list[int], list[Move]]:
    """The place of each unit, and those that are not where their draw alone would put them.

    A unit goes to the place whose interval of [0, 1) its draw falls into; the intervals of the places it may go to
    have lengths in proportion to their shares. Other units play no part in this, so the shares of a set or class are
    met only as well as chance meets them: whatever meets them better has to know the units dealt out before.

    The one correction: a set without any image in a place is topped up, and so is a class that lacks one in train, or
    one of three groups or more that lacks one in val or test (of k folds: a class is in as many folds as it has groups,
    if it can be). Each time one unit is moved, none that would empty another place of a set or class if there is a
    choice (but train comes first), then the one that fills most gaps, from where there are most beyond the share, with
    the draw nearest to the interval.

    Args:
        units: in the order of their draws.
        numbers: the number of each feature.
        places: what the units are dealt out to.
    """
    spans = {choices: _spans(choices, places) for choices in {unit.choices for unit in units}}
    drawn = [_drawn(unit, spans[unit.choices]) for unit in units]
    top_up = _TopUp(units, numbers, places, spans, drawn)
    if places.names == SPLITS:
        stages = [_Stage((TRAIN,), 1, first=True), _Stage((TEST,), _ENOUGH_GROUPS), _Stage((VAL,), _ENOUGH_GROUPS)]
    else:
        stages = [_Stage(tuple(range(len(places.names))), 1)]
    for stage in stages:
        top_up.run(stage)
    features = list(numbers)
    moves = [
        Move(unit, drawn[unit], top_up.where[unit], features[feature])
        for unit, feature in sorted(top_up.reasons.items())
        if top_up.where[unit] != drawn[unit]
    ]
    return top_up.where, moves


_Span = tuple[float, float]


def _spans(choices: tuple[int, ...], places: Places) -> dict[int, _Span]:
    """The interval of each choice, in the order of the line."""
    order = [place for place in places.line if place in choices]
    ends = list(accumulate(places.shares[place] for place in order))
    edges = [0.0, *(end / ends[-1] for end in ends[:-1]), 1.0]
    return {place: (edges[number], edges[number + 1]) for number, place in enumerate(order)}


def _drawn(unit: Unit, spans: Mapping[int, _Span]) -> int:
    return list(spans)[bisect_right([low for low, _ in spans.values()], unit.draw) - 1]


class _TopUp:
    """Moves single units to places that lack a set or a class.

    Attributes:
        where: the place of each unit.
        reasons: the feature that each moved unit was moved for.
    """

    def __init__(
        self,
        units: Sequence[Unit],
        numbers: Mapping[Feature, int],
        places: Places,
        spans: Mapping[tuple[int, ...], Mapping[int, _Span]],
        drawn: Sequence[int],
    ) -> None:
        self.where = list(drawn)
        self.reasons: dict[int, int] = {}
        self._units, self._spans = units, spans
        self._sets = {number for (_, trait), number in numbers.items() if trait == WHOLE}
        self._classes = {number for (_, trait), number in numbers.items() if trait not in (WHOLE, "")}
        self._counts = [[0] * len(places.names) for _ in numbers]  # units by feature and place
        self._holding: dict[int, list[int]] = defaultdict(list)
        for number, unit in enumerate(units):
            self._count(number, 1)
            for feature, _ in unit.counted:
                self._holding[feature].append(number)
        self._wished = [[share * sum(counts) for share in places.shares] for counts in self._counts]

    def run(self, stage: _Stage) -> None:
        """Top the places of a stage up: the sets, then the classes."""
        claims = [feature for feature in sorted(self._classes) if sum(self._counts[feature]) >= stage.fewest]
        for feature in (*sorted(self._sets), *claims):
            while lacking := [place for place in stage.places if self._counts[feature][place] == 0]:
                found = self._best(feature, lacking, stage, self._sets.union(claims))
                if found is None:
                    break
                number, place = found
                self._count(number, -1)
                self.where[number], self.reasons[number] = place, feature
                self._count(number, 1)

    def _best(self, feature: int, lacking: list[int], stage: _Stage, claims: set[int]) -> tuple[int, int] | None:
        """The unit to move and where to, or None if there is none to spare."""
        best: tuple[tuple[float, ...], int, int] | None = None
        for number in self._holding[feature]:
            unit, source = self._units[number], self.where[number]
            spans = self._spans[unit.choices]
            nearest = [(_distance(unit.draw, spans[place]), place) for place in lacking if place in spans]
            if not nearest:
                continue
            distance, place = min(nearest)
            emptied = {other for other, _ in unit.counted if self._counts[other][source] == 1}
            sets, classes = len(emptied & self._sets), len(emptied & self._classes)
            if not stage.first and (sets or (classes and feature not in self._sets)):
                continue
            filled = sum(other in claims and self._counts[other][place] == 0 for other, _ in unit.counted)
            surplus = self._counts[feature][source] - self._wished[feature][source]
            key = (sets, classes, -filled, -surplus, distance)
            if best is None or (key, number) < best[:2]:
                best = key, number, place
        return None if best is None else best[1:]

    def _count(self, number: int, sign: int) -> None:
        for feature, _ in self._units[number].counted:
            self._counts[feature][self.where[number]] += sign


def _distance(draw: float, span: _Span) -> float:
    return max(span[0] - draw, draw - span[1], 0.0)
