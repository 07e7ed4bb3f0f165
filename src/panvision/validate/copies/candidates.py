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
    found: list[Integers] = []
    cosines: list[Floats] = []
    for number, own in enumerate(variants):
        near[number, first + number] = -1.0
        targets = np.flatnonzero(near[number] >= _NEAR)
        cosine = own @ base[targets].T  # (V, M)
        some = (cosine >= _COSINE).any(axis=0)
        targets, cosine = targets[some], cosine[:, some]
        cosine[np.bitwise_count(_signs(own)[:, None] ^ signs[targets]) > _SIGNS] = -1.0
        lines = np.arange(len(own))
        for _ in range(min(_KEPT, len(targets))):
            best = cosine[lines].argmax(axis=1)
            kept = cosine[lines, best] >= _COSINE
            lines, best = lines[kept], best[kept]
            found.append(np.stack([np.full(len(lines), first + number), targets[best], lines], axis=1))
            cosines.append(cosine[lines, best])
            cosine[lines, best] = -1.0
    if not found:
        return np.zeros((0, 3), np.int64), np.zeros(0, np.float32)
    pairs, values = np.concatenate(found), np.concatenate(cosines)
    best = _most_similar(pairs, values)
    return pairs[best], values[best]


def _signs(vectors: Floats) -> npt.NDArray[np.uint64]:
    """Pack the signs of (M, 63) values into the bits of (M,) uint64."""
    padded = np.zeros((len(vectors), 64), np.bool_)
    padded[:, :LENGTH] = vectors > 0
    return np.packbits(padded, axis=1).view(np.uint64)[:, 0]


def _most_similar(pairs: Integers, cosine: Floats) -> Integers:
    """Return the positions of the most similar of each pair, whichever of the two is the source; by pair."""
    low, high = pairs[:, :2].min(axis=1), pairs[:, :2].max(axis=1)
    order = np.lexsort((pairs[:, 2], pairs[:, 0], -cosine, high, low))
    first = np.ones(len(order), np.bool_)
    first[1:] = (np.diff(low[order]) != 0) | (np.diff(high[order]) != 0)
    return order[first]
