"""Nearest neighbours of each image in other groups, by comparing all descriptors.

Descriptors are rounded to whole numbers whose sums of products float32 holds exactly. So every machine finds the same
neighbours.
"""

import numpy as np
import numpy.typing as npt

from panvision.core.cores import in_threads

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

# Descriptors are rounded to whole numbers of this scale: sums of products of unit vectors stay below 2^24, up to which
# float32 holds all whole numbers.
_SCALE = 2047.0
# Elements of a block of similarities: 8 MB of float32.
_BLOCK_ELEMENTS = 1 << 21


def find_neighbours(descriptors: npt.NDArray[np.float32], groups: Integers, count: int) -> tuple[Integers, Floats]:
    """Find the images most similar to each one, at most one of a group and none of the image's group.

    Args:
        descriptors: (N, L) of length 1.
        groups: (N,) group numbers without gaps, more than `count` of them.
        count: the number of neighbours.

    Returns:
        (N, count) rows, the most similar first, of equals that of the lower group, and (N,) the mean similarity, -1
        to 1.
    """
    order = np.argsort(groups, kind="stable")
    values = np.rint(descriptors[order] * np.float32(_SCALE))  # (N, L), by group
    members = groups[order]
    single = bool((np.diff(members) > 0).all())
    rows = np.empty((len(values), count), np.int64)
    nearness = np.empty(len(values))
    at_once = max(1, _BLOCK_ELEMENTS // max(len(values), 1))

    def compare(start: int) -> None:
        block = slice(start, start + at_once)
        similar = values[block] @ values.T  # (B, N), whole numbers
        similar[members[block, None] == members] = -np.inf
        lines = np.arange(len(similar))
        total = np.zeros(len(similar))
        for number in range(count):
            best = similar.argmax(axis=1)
            total += similar[lines, best]
            rows[order[block], number] = order[best]
            if single:
                similar[lines, best] = -np.inf
            else:
                similar[members[best][:, None] == members] = -np.inf
        nearness[order[block]] = total / (count * _SCALE**2)

    in_threads(compare, range(0, len(values), at_once))
    return rows, nearness
