"""The pictures that look most like each one: all compared in a small set, in a large one those of like random splits.

In a large set the pictures are sorted into leaves again and again: two of them are drawn, and the half that is nearer
to the one parts from the half that is nearer to the other, until a leaf holds some hundreds (as in Annoy, and near to
Dasgupta and Freund, "Random projection trees and low dimensional manifolds", 2008). Only what shares one of the leaves
is compared. So the work for one picture hardly grows with the set, and nearly all neighbours are found: those that are
missed are replaced by the next ones, which are hardly less like.

Everything is counted in whole numbers that float32 holds exactly, so that every machine finds the same neighbours.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from panvision.core.cores import count_cores, in_threads

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

# Descriptors are rounded to whole numbers of this scale: sums of products of unit vectors, and of one with the
# difference of two others, stay below 2^24, up to which float32 knows all whole numbers.
_SCALE = 2047.0
# A leaf with more pictures is split.
_LEAF = 512
# Among 33,000 cuttings of real photos so many trees find 98 to 99 % of the neighbours (benchmarks/neighbours.py), half
# of them 94 %.
_TREES = 16
# Up to so many pictures, comparing all is no more work.
_SMALL_SET = _LEAF * _TREES
# In a large set, so many pictures of one group are found as neighbours of others, spread over it evenly: a leaf full of
# one burst would know no other group. A leaf knows eight at least.
_OF_A_GROUP = 32
# Trees that are grown before what they found is merged.
_AT_ONCE = 4
# Elements of a block of similarities: 2 MB of float32.
_BLOCK_ELEMENTS = 1 << 19

# A neighbour is one number: the similarity in the upper bits, and below what makes the first of equals the largest.
_PLACE_BITS = 32
_LAST_PLACE = (1 << _PLACE_BITS) - 1
_NONE = np.iinfo(np.int64).min


@dataclass(frozen=True, slots=True, eq=False)
class _Points:
    """Descriptors, those of one group behind each other.

    Attributes:
        values: (N, L) int16.
        groups: (N,) int64, ascending.
    """

    values: npt.NDArray[np.int16]
    groups: Integers

    def take(self, places: Integers) -> npt.NDArray[np.float32]:
        """Some of them, (M, L)."""
        return self.values[places].astype(np.float32)


def find_neighbours(looks: npt.NDArray[np.float32], groups: Integers, count: int) -> tuple[Integers, Floats]:
    """The pictures most like each one, at most one of a group and none of its own.

    Args:
        looks: (N, L) of length 1.
        groups: (N,) group numbers without gaps, more than `count` of them.
        count: how many neighbours, at most 7.

    Returns:
        (N, count) rows, the most similar first, of equals that of the lower group, and (N,) the mean similarity, -1
        to 1. Exact up to 8,192 pictures.
    """
    order = np.argsort(groups, kind="stable")
    points = _Points(_rounded(looks, order), groups[order])
    places = np.arange(len(looks))
    if len(looks) <= _SMALL_SET:
        parts = np.array_split(places, count_cores())
        keys = np.concatenate(in_threads(lambda part: _compare(points, part, places, count), parts))
    else:
        keys = _search_forest(points, count)
    rows = np.empty((len(looks), count), np.int64)
    nearness = np.empty(len(looks))
    rows[order] = order[_LAST_PLACE - (keys & _LAST_PLACE)]
    nearness[order] = (keys >> _PLACE_BITS).sum(axis=1) / (count * _SCALE**2)
    return rows, nearness


def _rounded(looks: npt.NDArray[np.float32], order: Integers) -> npt.NDArray[np.int16]:
    """The descriptors in the given order, (N, L) int16."""
    values = np.empty(looks.shape, np.int16)
    for block in _blocks(np.arange(len(order)), looks.shape[1]):
        values[block] = np.rint(looks[order[block]] * _SCALE)
    return values


def _blocks(places: Integers, width: int) -> Iterator[Integers]:
    """Places in parts of which `width` numbers each fit into memory."""
    size = max(1, _BLOCK_ELEMENTS // max(width, 1))
    for start in range(0, len(places), size):
        yield places[start : start + size]


def _compare(points: _Points, asking: Integers, compared: Integers, count: int) -> Integers:
    """The keys of the nearest of some points, one of a group, the nearest first; _NONE where there are too few groups.

    Args:
        points: all.
        asking: (Q,) places of those that ask.
        compared: (M,) places of those that are compared with, ascending.
        count: how many are wanted.

    Returns:
        (Q, count) int64.
    """
    keys = np.full((len(asking), count), _NONE)
    groups = points.groups[compared]
    table = points.take(compared).T
    single = bool((np.diff(groups) > 0).all())
    for block in _blocks(np.arange(len(asking)), len(compared)):
        alike = points.take(asking[block]) @ table  # (block, M), whole numbers
        alike[points.groups[asking[block], None] == groups] = -np.inf
        lines = np.arange(len(alike))
        for number in range(count):
            best = alike.argmax(axis=1)
            value = alike[lines, best]
            found = np.flatnonzero(value > -np.inf)
            keys[block[found], number] = _key(value[found], compared[best[found]])
            if single:
                alike[lines, best] = -np.inf
            else:
                alike[groups[best][:, None] == groups] = -np.inf
    return keys


def _key(similarity: npt.NDArray[np.float32], place: Integers) -> Integers:
    return np.asarray((similarity.astype(np.int64) << _PLACE_BITS) + (_LAST_PLACE - place))


def _search_forest(points: _Points, count: int) -> Integers:
    """As `_compare` for all points, with those that share a leaf of some tree."""
    eligible = _eligible(points.groups)
    keys = np.empty((len(eligible), 0), np.int64)
    for first in range(0, _TREES, _AT_ONCE):
        trees = range(first, min(first + _AT_ONCE, _TREES))
        found = in_threads(lambda number: _search_tree(points, eligible, number, count), trees)
        keys = _nearest(np.hstack([keys, *found]), points.groups, count)
    return keys


def _eligible(groups: Integers) -> npt.NDArray[np.bool_]:
    """Which of (N,) points, by ascending groups, are found as neighbours."""
    starts = np.flatnonzero(np.diff(groups, prepend=-1))
    sizes = np.diff(starts, append=len(groups))
    size = np.repeat(sizes, sizes)
    rank = np.arange(len(groups)) - np.repeat(starts, sizes)
    part = rank * _OF_A_GROUP // size
    return np.asarray((rank == 0) | (part != (rank - 1) * _OF_A_GROUP // size))


def _search_tree(points: _Points, eligible: npt.NDArray[np.bool_], number: int, count: int) -> Integers:
    """As `_compare` for all points, with those in the same leaf of one tree."""
    chance = np.random.default_rng(number)
    keys = np.empty((len(eligible), count), np.int64)
    waiting = [np.arange(len(eligible))]
    while waiting:
        here = waiting.pop()
        compared = here[eligible[here]]
        if len(compared) <= _LEAF:
            keys[here] = _compare(points, here, compared, count)
            continue
        one, other = points.take(chance.choice(compared, 2, replace=False))
        blocks = _blocks(here, points.values.shape[1])
        order = np.argsort(np.concatenate([points.take(block) @ (one - other) for block in blocks]), kind="stable")
        # So that half of those that are compared with come before it, also where many points are equal.
        cut = int(np.searchsorted(np.cumsum(eligible[here[order]]), len(compared) // 2)) + 1
        waiting += [np.sort(here[order[:cut]]), np.sort(here[order[cut:]])]
    return keys


def _nearest(keys: Integers, groups: Integers, count: int) -> Integers:
    """The largest of (N, M) keys, one of a group: (N, count)."""
    nearest = np.empty((len(keys), count), np.int64)
    for block in _blocks(np.arange(len(keys)), keys.shape[1]):
        left = keys[block]
        owner = np.where(left == _NONE, -1, groups[np.where(left == _NONE, 0, _LAST_PLACE - (left & _LAST_PLACE))])
        for number in range(count):
            best = left.argmax(axis=1)[:, None]
            nearest[block, number] = np.take_along_axis(left, best, axis=1)[:, 0]
            left = np.where(owner == np.take_along_axis(owner, best, axis=1), _NONE, left)
    return nearest
