"""Pairs of looks that may show the same photo, found by comparing all of them.

Two looks are a candidate if the descriptor of one variant of the first (a crop, mirror image or overexposure) has a
cosine of at least 0.84 with the descriptor of the second. Comparing all 62 variants of all pairs takes 10 s for 10,000
looks on two cores. So a few variants are compared first: the whole look in its eight orientations and its middle. Only
pairs that these make half similar are compared by all variants.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from panvision.core.cores import in_threads
from panvision.dataset.descriptors import LENGTH, VARIANTS, Floats, LookStack, describe, describe_variants

Integers = npt.NDArray[np.int64]

# Descriptors of copies have at least this cosine at the best variant; few others have.
_COSINE = 0.84
# Signs of the 63 frequencies that may differ: the cosine is mostly that of the lowest few.
_SIGNS = 20
# One of 14,000 planted copies of real photos had only 0.48 at the first variants.
_NEAR = 0.4
_FIRST = [number for number, variant in enumerate(VARIANTS) if variant.side == 1.0 and variant.gain == 1.0]
_FIRST += [
    number for number, variant in enumerate(VARIANTS) if variant.side == 0.9 and variant.top == variant.left == 0.05
]
# Per look and variant, the number of most similar looks that are kept: in a thousand frames of one camera nearly all
# pairs are similar.
_KEPT = 3
# Looks that are described at a time, and the elements of a block of cosines (4 MB of float32).
_DESCRIBED = 256
_BLOCK_ELEMENTS = 1 << 20


@dataclass(frozen=True, slots=True)
class Candidates:
    """Pairs of looks, M of them, the most similar first.

    Attributes:
        source, target: (M,) int64, rows of looks.
        variant: (M,) int64, the number of the variant of `source` that is most similar to `target`.
        cosine: (M,) float32, their similarity.
    """

    source: Integers
    target: Integers
    variant: Integers
    cosine: Floats


def find_candidates(looks: LookStack, rows: Integers) -> Candidates:
    """Find every pair of looks that one variant makes nearly equal.

    Args:
        looks: all looks.
        rows: (N,) the rows that are compared; none of these is plain.
    """
    base = np.empty((len(rows), LENGTH), np.float32)
    for start in range(0, len(rows), _DESCRIBED):
        base[start : start + _DESCRIBED] = describe(looks.take(rows[start : start + _DESCRIBED]))
    signs = _signs(base)
    at_once = max(1, _BLOCK_ELEMENTS // (len(_FIRST) * max(len(rows), 1)))

    def compare(start: int) -> tuple[Integers, Floats]:
        variants = describe_variants(looks.take(rows[start : start + at_once]))  # (B, V, 63)
        return _compare(start, variants, base, signs)

    blocks = in_threads(compare, range(0, len(rows), at_once))
    if not blocks:
        empty = np.zeros(0, np.int64)
        return Candidates(empty, empty, empty, np.zeros(0, np.float32))
    pairs = np.concatenate([pairs for pairs, _ in blocks])  # (M, 3): source, target, variant
    cosine = np.concatenate([cosine for _, cosine in blocks])
    best = _most_similar(pairs, cosine)
    best = best[np.argsort(-cosine[best], kind="stable")]
    return Candidates(rows[pairs[best, 0]], rows[pairs[best, 1]], pairs[best, 2], cosine[best])


def _compare(first: int, variants: Floats, base: Floats, signs: npt.NDArray[np.uint64]) -> tuple[Integers, Floats]:
    """Compare the (B, V, 63) variants of the looks from number `first` on with (N, 63) descriptors.

    Returns:
        (M, 3) source, target and variant, each pair once, and (M,) cosines.
    """
    near = variants[:, _FIRST].reshape(-1, LENGTH) @ base.T  # (B * F, N)
    near = near.reshape(len(variants), len(_FIRST), -1).max(axis=1)  # (B, N)
    query, target = np.zeros((2, 0), np.int64)
    cosine = np.zeros(0, np.float32)
    for number, own in enumerate(variants):
        near[number, first + number] = -1.0
        targets = np.flatnonzero(near[number] >= _NEAR)
        similar = own @ base[targets].T  # (V, M)
        lines, places = np.nonzero(similar >= _COSINE)
        query = np.concatenate([query, number * len(own) + lines])
        target = np.concatenate([target, targets[places]])
        cosine = np.concatenate([cosine, similar[lines, places]])
    flat = variants.reshape(-1, LENGTH)
    alike = np.bitwise_count(_signs(flat)[query] ^ signs[target]) <= _SIGNS
    query, target, cosine = query[alike], target[alike], cosine[alike]
    kept = _highest(query, cosine)
    source, variant = np.divmod(query[kept], len(VARIANTS))
    pairs, cosine = np.stack([first + source, target[kept], variant], axis=1), cosine[kept]
    best = _most_similar(pairs, cosine)
    return pairs[best], cosine[best]


def _signs(vectors: Floats) -> npt.NDArray[np.uint64]:
    """Pack the signs of (M, 63) values into the bits of (M,) uint64."""
    padded = np.zeros((len(vectors), 64), np.bool_)
    padded[:, :LENGTH] = vectors > 0
    return np.packbits(padded, axis=1).view(np.uint64)[:, 0]


def _highest(query: Integers, cosine: Floats) -> Integers:
    """Positions of the _KEPT highest cosines of each query."""
    order = np.lexsort((-cosine, query))
    ordered = query[order]
    rank = np.arange(len(order)) - np.searchsorted(ordered, ordered)
    return order[rank < _KEPT]


def _most_similar(pairs: Integers, cosine: Floats) -> Integers:
    """Positions of the most similar of each pair, whichever of the two is the source; by pair."""
    low, high = pairs[:, :2].min(axis=1), pairs[:, :2].max(axis=1)
    order = np.lexsort((pairs[:, 2], pairs[:, 0], -cosine, high, low))
    first = np.ones(len(order), np.bool_)
    first[1:] = (np.diff(low[order]) != 0) | (np.diff(high[order]) != 0)
    return order[first]
