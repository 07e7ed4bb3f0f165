"""Copies of one photo among many: cropped, mirrored, turned, brighter, resized, saved again."""

from collections.abc import Callable, Iterator

import numpy as np

from panvision.dataset.descriptors import VARIANTS, Floats, LookStack, show, window
from panvision.validate.copies.alignment import differences
from panvision.validate.copies.candidates import Candidates, Integers, find_candidates

_BATCH = 512


def find_copies(
    looks: LookStack, rows: Integers, limit: float, *, joined: Callable[[int, int], bool]
) -> Iterator[tuple[int, int]]:
    """Yield pairs of looks that show one photo.

    Args:
        looks: all looks.
        rows: (N,) the rows that are compared; none of these is plain.
        limit: largest difference of a copy, in the units of `alignment.differences`.
        joined: returns True if two rows are known to show one photo, so that they need not be compared. It is called
            while pairs are taken from the iterator: in a thousand images of an empty pan, few are compared.

    Yields:
        The two rows of a pair.
    """
    found = find_candidates(looks, rows)
    batch: list[int] = []
    for number in range(len(found.source)):
        if not joined(int(found.source[number]), int(found.target[number])):
            batch.append(number)
        if len(batch) == _BATCH:
            yield from _copies(looks, found, np.array(batch), limit)
            batch = []
    yield from _copies(looks, found, np.array(batch, np.int64), limit)


def _copies(looks: LookStack, found: Candidates, numbers: Integers, limit: float) -> Iterator[tuple[int, int]]:
    if not len(numbers):
        return
    source, target = found.source[numbers], found.target[numbers]
    variants = [VARIANTS[number] for number in found.variant[numbers].tolist()]
    sources = np.stack([show(look, variant) for look, variant in zip(looks.take(source), variants, strict=True)])
    targets = looks.take(target).astype(np.float32)
    for place in np.flatnonzero(_compare(sources, targets, np.array([window(v) for v in variants]), limit) <= limit):
        yield int(source[place]), int(target[place])


def _compare(sources: Floats, targets: Floats, windows: Floats, limit: float) -> Floats:
    """Return the difference of each pair, (P,) float32."""
    windows = windows.astype(np.float32)
    found = differences(sources, windows, targets, limit=limit)
    # If the whole look is the most similar, either may be a small crop of the other.
    turned = np.flatnonzero((windows[:, 2] == 1.0) & (found > limit))
    if len(turned):
        found[turned] = differences(targets[turned], windows[turned], sources[turned], limit=limit)
    return found
