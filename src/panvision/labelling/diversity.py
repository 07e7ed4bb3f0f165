"""Images that are uncertain and unlike each other, chosen one at a time."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from panvision.labelling.features import VISUAL, VectorFile, Vectors

Floats = npt.NDArray[np.floating[Any]]

# Images whose descriptors are at most this far apart count as one. Real photos that were saved again at two thirds of
# their size have at most 0.07, consecutive frames of a fixed camera from 0.04 on, photos of other scenes 0.9 or more.
NEAR = 0.3
# One image seen twice has at most this distance, by rounding.
_SAME = 0.02
# An image that the model is sure of is still worth this much.
_LEAST = 0.02
# Vectors that are compared at a time, as float32.
_ROWS = 4096


class Pick(NamedTuple):
    """A chosen image.

    Attributes:
        row: its number.
        value: its doubt, times its distance as a fraction of the usual one.
        distance: to the nearest image that is labelled or was chosen before, as a fraction of the usual one, up to 1.
        similar: near-duplicates of it, which are not chosen.
    """

    row: int
    value: float
    distance: float
    similar: int


def choose(
    doubt: Floats, vectors: Vectors | VectorFile, count: int, labelled: Vectors | VectorFile | None = None
) -> list[Pick]:
    """Choose images one by one: each time the one with the largest product of doubt and distance.

    The distance is that to the nearest chosen or labelled image (farthest-point sampling; Gonzalez 1985; as "core-set"
    for active learning, Sener and Savarese 2018). So images like labelled ones come late. Labelled images
    themselves and near-duplicates of a chosen image are never chosen.

    Args:
        doubt: (N,) 0 to 1.
        vectors: (N, D) of `feature_vector`.
        count: images to choose; fewer are chosen if there are no others.
        labelled: (M, D) of the images that have labels.

    Returns:
        The best first; equal ones in the order of their rows.
    """
    usual = _usual_distance(vectors)
    nearest = _nearest(vectors, labelled[:] if labelled is not None else ())
    alive = nearest > _SAME
    picks: list[Pick] = []
    while alive.any() and len(picks) < count:
        share = np.minimum(nearest / usual, 1.0)
        values = np.where(alive, (_LEAST + (1 - _LEAST) * doubt) * share, -1.0)
        best = int(values.argmax())
        chosen = vectors[best : best + 1]
        alike = alive & (_nearest(vectors, chosen, VISUAL) <= NEAR)
        alike[best] = True
        alive &= ~alike
        picks.append(Pick(best, float(values[best]), float(share[best]), int(alike.sum()) - 1))
        nearest = np.minimum(nearest, _nearest(vectors, chosen))
    return picks


def _usual_distance(vectors: Vectors | VectorFile) -> float:
    """Return the median distance of two images, estimated from that to the mean of all."""
    if not len(vectors):
        return 1.0
    centre = sum(block.sum(axis=0, dtype=np.float64) for _, block in _blocks(vectors)) / len(vectors)
    return max(float(np.median(_nearest(vectors, centre[None]))) * np.sqrt(2.0), NEAR)


def _nearest(
    vectors: Vectors | VectorFile, others: Sequence[Floats] | Floats, width: int | None = None
) -> npt.NDArray[np.float32]:
    """Return the distances (N,) of vectors (N, D) from the nearest of others (M, D), by their first `width` values.

    Without others they are infinite.
    """
    found = np.full(len(vectors), np.inf, np.float32)
    for rows, block in _blocks(vectors):
        values = block[:, :width].astype(np.float32)
        for other in others:
            distances = np.linalg.norm(values - other[:width].astype(np.float32), axis=1)
            found[rows] = np.minimum(found[rows], distances)
    return found


def _blocks(vectors: Vectors | VectorFile) -> Iterator[tuple[slice, Vectors]]:
    """Yield vectors a few thousand at a time, and their rows."""
    for start in range(0, len(vectors), _ROWS):
        rows = slice(start, start + _ROWS)
        yield rows, vectors[rows]
