"""Which looks may show the same photo: found by short keys, without comparing all pairs.

Every descriptor gets keys of 16 bits from the signs of 16 of its lowest frequencies, and is filed under them: two keys
from the frequencies as they are, which tell scenes apart, and two from their distance to the median over the set,
which tell apart the frames of a camera that does not move. A picture then asks for the keys of all its variants
(crops, mirror images, overexposed), and, since small changes flip the bits that are nearest to zero, for those with
up to two of the six least certain bits turned: query-directed probing, Lv et al., "Multi-Probe LSH" (2007). What is
filed there is compared by the signs of all frequencies, then by the cosine of the descriptors.

Keys of one length would have more entries the more pictures there are, and the work would grow with their square. So in
large sets keys are longer, by a bit for every doubling, and for every two bits one more counts as uncertain.
"""

from dataclasses import dataclass
from itertools import combinations
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from panvision.core.cores import in_threads
from panvision.dataset.descriptors import LENGTH, VARIANTS, Floats, LookStack, describe, describe_variants

Integers = npt.NDArray[np.int64]
Keys = npt.NDArray[np.uint32]
Kind = TypeVar("Kind", bound=np.generic)

# Descriptors of copies have at least this cosine at the nearest variant; few others have.
_COSINE = 0.84
# Signs that may differ, out of 63, before the cosine is looked at.
_SIGNS = 20
_KEY_BITS, _MOST_KEY_BITS = 16, 24
# As many looks as keys of 16 bits are enough for.
_FEW_LOOKS = 1 << 14
_UNCERTAIN = 6
_TURNED = 2
# Of the entries under one key, a query meets at most so many: those nearest in a 17th frequency. Where a camera does
# not move, all its pictures have one key, and the work would grow with their square.
_MOST = 48
# Per picture and variant, so many of the nearest are kept.
_KEPT = 3
_ENOUGH = 64
_ROW_BITS = 40
# Looks that are described at a time, and those that ask with all their variants: fewer where keys have many entries.
_DESCRIBED = 256
_ASKING, _FEWEST_ASKING = 64, 8
_MANY = 1 << 17


@dataclass(frozen=True, slots=True)
class Candidates:
    """Pairs of looks, M of them, by falling likeness.

    Attributes:
        source, target: (M,) int64, rows of looks.
        variant: (M,) int64, the number of the variant of `source` that is likest to `target`.
        cosine: (M,) float32, how like they are.
    """

    source: Integers
    target: Integers
    variant: Integers
    cosine: Floats


@dataclass(frozen=True, slots=True)
class _Table:
    """Descriptors filed by one key.

    Attributes:
        columns, centre: which 16 frequencies the key is made of, and what they are measured from.
        tie: the frequency that orders what has one key.
        order: rows of the descriptors by key, then by `tie`.
        signs: the signs of all frequencies in this order: what is filed under a key is read in one go.
        starts: (2^B + 1,) int32, where each key begins in `order`, and where the last one ends.
        taken: (2^B,) bool, whether any has a key.
        within: the values of `tie` in this order.
    """

    columns: Integers
    centre: Floats
    tie: int
    order: Integers
    signs: npt.NDArray[np.uint64]
    starts: npt.NDArray[np.int32]
    taken: npt.NDArray[np.bool_]
    within: Floats


def find_candidates(looks: LookStack, rows: Integers) -> Candidates:
    """Every pair of looks that one variant makes nearly equal.

    Args:
        looks: all looks.
        rows: (N,) which of them are compared; none of these is plain.
    """
    index = _Index(looks, rows)
    at_once = min(max(_ASKING * _MANY // max(len(rows), 1), _FEWEST_ASKING), _ASKING)

    def ask(start: int) -> tuple[Integers, Floats]:
        return index.ask(start, describe_variants(looks.take(rows[start : start + at_once])))

    blocks = in_threads(ask, range(0, len(rows), at_once))
    if not blocks:
        empty = np.zeros(0, np.int64)
        return Candidates(empty, empty, empty, np.zeros(0, np.float32))
    found = np.concatenate([pairs for pairs, _ in blocks])  # (M, 3): source, target, variant
    cosine = np.concatenate([cosine for _, cosine in blocks])
    best = _likest(found, cosine)
    best = best[np.argsort(-cosine[best], kind="stable")]
    variant = found[best, 2].astype(np.int64)
    return Candidates(rows[found[best, 0]], rows[found[best, 1]], variant, cosine[best])


def _likest(found: Integers, cosine: Floats) -> Integers:
    """Of (M, 3) source, target and variant the positions of each pair's likest, by pair, whichever of them asked."""
    low, high = found[:, :2].min(axis=1), found[:, :2].max(axis=1)
    order = np.lexsort((found[:, 2], found[:, 0], -cosine, high, low))
    first = np.ones(len(order), np.bool_)
    first[1:] = (np.diff(low[order]) != 0) | (np.diff(high[order]) != 0)
    return order[first]


class _Index:
    """All looks filed under their keys."""

    def __init__(self, looks: LookStack, rows: Integers) -> None:
        self._base = np.empty((len(rows), LENGTH), np.float32)
        for start in range(0, len(rows), _DESCRIBED):
            block = slice(start, start + _DESCRIBED)
            self._base[block] = describe(looks.take(rows[block]))
        self._signs = _signs(self._base)
        low_first = sorted(range(LENGTH), key=lambda place: ((place + 1) // 8 + (place + 1) % 8, place))
        centres = [np.zeros(LENGTH, np.float32)]
        # The median of a few looks may be one of them, or between copies: then signs would be noise.
        if len(rows) >= _ENOUGH:
            centres.append(np.median(self._base, axis=0))
        bits = key_bits(len(rows))
        self._tables = [
            self._file(np.array(low_first[start : start + bits]), centre, low_first[_KEY_BITS + bits])
            for centre in centres
            for start in (0, _KEY_BITS)
        ]

    def _file(self, columns: Integers, centre: Floats, tie: int) -> _Table:
        keys = _keys(self._base[:, columns] - centre[columns])
        order = np.lexsort((self._base[:, tie], keys))
        starts = np.zeros(2 ** len(columns) + 1, np.int32)
        np.cumsum(np.bincount(keys, minlength=2 ** len(columns)), out=starts[1:])
        signs, within = self._signs[order], self._base[order, tie]
        return _Table(columns, centre[columns], tie, order, signs, starts, np.diff(starts) > 0, within)

    def ask(self, first: int, variants: Floats) -> tuple[Integers, Floats]:
        """Pairs for some looks from number `first` on, by their (B, V, 63) variants: rows (M, 3) and cosines (M,)."""
        flat = variants.reshape(-1, LENGTH)
        signs = _signs(flat)
        found = [self._matches(table, flat, signs) for table in self._tables]
        query = np.concatenate([query for query, _ in found])
        target = np.concatenate([target for _, target in found])
        query, target = _distinct(query, target)
        cosine = np.einsum("md,md->m", flat.take(query, axis=0), self._base.take(target, axis=0))
        source = first + query // len(VARIANTS)
        keep = (cosine >= _COSINE) & (source != target)
        query, source, target, cosine = query[keep], source[keep], target[keep], cosine[keep]
        keep = _nearest(query, cosine)
        pairs = np.stack([source, target, query % len(VARIANTS)], axis=1)[keep]
        cosine = cosine[keep].astype(np.float32)
        # Most variants of a look meet the same ones: kept as they come, they would fill the memory.
        best = _likest(pairs, cosine)
        return pairs[best], cosine[best]

    def _matches(self, table: _Table, flat: Floats, signs: npt.NDArray[np.uint64]) -> tuple[Integers, Integers]:
        """Queries (rows of `flat`) and the looks filed under one of their keys, those of similar signs."""
        probes = _probes(flat.take(table.columns, axis=1) - table.centre).ravel().astype(np.intp)
        # Most keys are nobody's.
        some = np.flatnonzero(_pick(table.taken, probes))
        query, keys = some % len(flat), probes[some]
        start = _pick(table.starts, keys).astype(np.int64)
        counts = _pick(table.starts, keys + 1) - start
        full = counts > _MOST
        if full.any():
            start[full] = _around(table, start[full], start[full] + counts[full], flat[query[full], table.tie])
            counts[full] = _MOST
        ends = np.cumsum(counts)
        entry = np.repeat(np.arange(len(keys)), counts)
        place = _pick(start - ends + counts, entry) + np.arange(len(entry))
        differing = np.bitwise_count(_pick(_pick(signs, query), entry) ^ _pick(table.signs, place))
        close = np.flatnonzero(differing <= _SIGNS)
        return _pick(query, _pick(entry, close)), _pick(table.order, _pick(place, close))


def _pick(values: npt.NDArray[Kind], places: Integers) -> npt.NDArray[Kind]:
    """`values[places]` for places that are there, in a fifth of the time."""
    return values.take(places, mode="clip")


def key_bits(looks: int) -> int:
    """Bits of the keys that so many looks are filed under."""
    return min(_KEY_BITS + (max(looks - 1, 0) // _FEW_LOOKS).bit_length(), _MOST_KEY_BITS)


def _around(table: _Table, start: Integers, stop: Integers, value: Floats) -> Integers:
    """Where the part of each key's entries, of length _MOST, begins that lies around a value of the tie's frequency."""
    low, high = start.copy(), stop.copy()
    # Binary search in all the ranges at once.
    while (searching := low < high).any():
        middle = (low + high) // 2
        below = searching & (table.within[np.minimum(middle, len(table.within) - 1)] < value)
        low = np.where(below, middle + 1, low)
        high = np.where(searching & ~below, middle, high)
    return np.asarray(np.clip(low - _MOST // 2, start, stop - _MOST))


def _signs(vectors: Floats) -> npt.NDArray[np.uint64]:
    """The signs of (M, 63) values as the bits of (M,) uint64."""
    padded = np.zeros((len(vectors), 64), np.bool_)
    padded[:, :LENGTH] = vectors > 0
    return np.ascontiguousarray(np.packbits(padded, axis=1)).view(np.uint64)[:, 0]


def _keys(values: Floats) -> Keys:
    """The signs of (M, B) values, at most 32, as the lowest bits of (M,) uint32."""
    padded = np.zeros((len(values), 32), np.bool_)
    padded[:, : values.shape[1]] = values > 0
    return np.ascontiguousarray(np.packbits(padded, axis=1, bitorder="little")).view("<u4")[:, 0]


def _probes(values: Floats) -> Keys:
    """The keys of (Q, B) values with up to _TURNED of their least certain bits turned, (P, Q) uint32."""
    count = _UNCERTAIN + (values.shape[1] - _KEY_BITS) // 2
    uncertain = np.argpartition(np.abs(values), count, axis=1)[:, :count]
    bits = np.uint32(1) << np.ascontiguousarray(uncertain.T).astype(np.uint32)  # (count, Q)
    turns = [places for turned in range(_TURNED + 1) for places in combinations(range(count), turned)]
    probes = np.repeat(_keys(values)[None], len(turns), axis=0)
    for number, places in enumerate(turns):
        for place in places:
            probes[number] ^= bits[place]
    return probes


def _distinct(query: Integers, target: Integers) -> tuple[Integers, Integers]:
    """Each pair once, in order."""
    pairs = np.sort((query << _ROW_BITS) + target)
    first = np.ones(len(pairs), np.bool_)
    first[1:] = np.diff(pairs) != 0
    pairs = pairs[first]
    return pairs >> _ROW_BITS, pairs & ((1 << _ROW_BITS) - 1)


def _nearest(query: Integers, cosine: Floats) -> Integers:
    """Positions of the _KEPT likest of each query."""
    order = np.lexsort((-cosine, query))
    ordered = query[order]
    rank = np.arange(len(order)) - np.searchsorted(ordered, ordered)
    return order[rank < _KEPT]
