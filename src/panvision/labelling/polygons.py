"""Masks to polygons, with the error that the simplification makes. NumPy only.

A mask's boundary runs between its pixels, along their edges (crack following; Rosenfeld and Kak, Digital Picture
Processing, 2nd edition, 1982, section 11.2). So the polygon is not half a pixel too small on each side, as one through
the centres of the border pixels is. It is simplified by Douglas and Peucker 1973.
"""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from panvision.prepare.formats.outlines import Polygon, fill_polygon

Floats = npt.NDArray[np.float64]
# x and y of a corner of pixels, or of a step to the next one.
Point = tuple[int, int]


@dataclass(frozen=True)
class Outlines:
    """The polygons of one mask.

    Attributes:
        polygons: one per connected area, x1, y1, x2, y2, … in pixels; a hole is joined to its area by a line of no
            width.
        distance: largest distance in pixels of a corner of the mask's boundary from its polygon.
        iou: intersection over union of the mask, specks included, and of what the polygons draw; 1 for an empty mask.
        specks: number of areas and holes that are left out.
    """

    polygons: tuple[Polygon, ...] = ()
    distance: float = 0.0
    iou: float = 1.0
    specks: int = 0


def outline_mask(mask: npt.NDArray[np.uint8], tolerance: float, least_area: float = 0.0) -> Outlines:
    """Convert a mask (H, W), where every value but 0 counts, to polygons.

    Args:
        mask: (H, W) uint8.
        tolerance: distance in pixels by which a polygon may miss the boundary; 0 keeps every corner, and the polygons
            then draw exactly the mask.
        least_area: smaller areas and holes are left out; a fraction of the image.
    """
    inside = mask > 0
    traced = trace_rings(inside)
    rings = [_simplify(ring, tolerance) for ring in traced if abs(ring_area(ring)) >= least_area * mask.size]
    outer = [ring for ring, _ in rings if ring_area(ring) > 0]
    merged = list(outer)
    for hole in (ring for ring, _ in rings if ring_area(ring) < 0):
        owner = _owner(hole, outer)
        if owner is not None:
            merged[owner] = _bridge(merged[owner], hole)
    drawn = np.zeros(mask.shape, np.uint8)
    for ring in merged:
        fill_polygon(drawn, ring)
    both, either = np.count_nonzero(inside & (drawn > 0)), np.count_nonzero(inside | (drawn > 0))
    return Outlines(
        polygons=tuple(tuple(ring.ravel().tolist()) for ring in merged),
        distance=max((distance for _, distance in rings), default=0.0),
        iou=both / either if either else 1.0,
        specks=len(traced) - len(rings),
    )


def trace_rings(inside: npt.NDArray[np.bool_]) -> list[Floats]:
    """Return the closed boundaries of an (H, W) mask as corners (P, 2) x, y, without repeating the first.

    Boundaries of areas run clockwise as seen, those of holes against it. Pixels that touch at a corner only are
    separate areas.
    """
    after = _edges(inside)
    rings: list[Floats] = []
    while after:
        start = place = next(iter(after))
        step = after[place][0]
        corners: list[Point] = []
        while True:
            steps = after[place]
            # Where two boundaries meet, turning right stays at the same pixel.
            turn = _right(step) if _right(step) in steps else steps[0]
            steps.remove(turn)
            if not steps:
                del after[place]
            if turn != step or not corners:
                corners.append(place)
            step = turn
            place = (place[0] + step[0], place[1] + step[1])
            # The first corner may be one where two boundaries meet.
            if place == start and _right(step) not in after.get(start, ()):
                break
        rings.append(_without_straight(np.array(corners, np.float64)))
    return rings


def _right(step: Point) -> Point:
    """Return the direction after a turn to the right."""
    return -step[1], step[0]


def _edges(inside: npt.NDArray[np.bool_]) -> dict[Point, list[Point]]:
    """Return the directions in which boundaries leave each corner of pixels, with the mask on their right."""
    padded = np.pad(inside, 1)
    here, above, left = padded[1:, 1:], padded[:-1, 1:], padded[1:, :-1]
    # Of the pixel (x, y): where the edge starts, and its direction.
    kinds = (
        (here & ~above, (0, 0), (1, 0)),
        (above & ~here, (1, 0), (-1, 0)),
        (here & ~left, (0, 1), (0, -1)),
        (left & ~here, (0, 0), (0, 1)),
    )
    after: dict[Point, list[Point]] = defaultdict(list)
    for found, (right, down), step in kinds:
        rows, columns = np.nonzero(found)
        for place in zip((columns + right).tolist(), (rows + down).tolist(), strict=True):
            after[place].append(step)
    return dict(sorted(after.items()))


def _without_straight(ring: Floats) -> Floats:
    """Drop the first corner if the boundary runs straight through it."""
    before, here, ahead = ring[-1], ring[0], ring[1]
    (x1, y1), (x2, y2) = here - before, ahead - here
    return ring[1:] if x1 * y2 == y1 * x2 else ring


def _simplify(ring: Floats, tolerance: float) -> tuple[Floats, float]:
    """Return the corners (K, 2) that are kept, and the largest distance of a dropped one from the polygon."""
    closed = np.concatenate([ring, ring[:1]])
    far = int(((ring - ring[0]) ** 2).sum(axis=1).argmax())
    keep = np.zeros(len(closed), bool)
    keep[[0, far]] = True
    error = 0.0
    waiting = [(0, far), (far, len(ring))]
    while waiting:
        first, last = waiting.pop()
        if last - first < 2:
            continue
        distances = _distances(closed[first + 1 : last], closed[first], closed[last])
        worst = int(distances.argmax())
        if distances[worst] > tolerance:
            middle = first + 1 + worst
            keep[middle] = True
            waiting += [(first, middle), (middle, last)]
        else:
            error = max(error, float(distances[worst]))
    kept = ring[keep[:-1]]
    # A spot of a few pixels would vanish, or turn inside out.
    return (kept, error) if len(kept) > 2 and ring_area(kept) * ring_area(ring) > 0 else (ring, 0.0)


def _distances(points: Floats, start: Floats, end: Floats) -> Floats:
    """Return the distances (P,) of points (P, 2) from a line between two points."""
    along = end - start
    length = float(along @ along)
    share = np.clip((points - start) @ along / length, 0.0, 1.0) if length else np.zeros(len(points))
    return np.asarray(np.linalg.norm(points - start - share[:, None] * along, axis=1))


def ring_area(ring: Floats) -> float:
    """Return the area of a ring (P, 2); negative against the clock as seen."""
    x, y = ring.T
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


def _owner(hole: Floats, outer: list[Floats]) -> int | None:
    """Return the number of the smallest ring around a hole; None if the simplification has left none."""
    x, y = hole[np.lexsort((hole[:, 0], hole[:, 1]))[0]] + 0.5  # within the hole's first pixel
    around: list[tuple[float, int]] = []
    for number, ring in enumerate(outer):
        ends = np.roll(ring, -1, axis=0)
        crossed = (ring[:, 1] > y) != (ends[:, 1] > y)
        one, other = ring[crossed], ends[crossed]
        places = one[:, 0] + (y - one[:, 1]) / (other[:, 1] - one[:, 1]) * (other[:, 0] - one[:, 0])
        if np.count_nonzero(places < x) % 2:
            around.append((ring_area(ring), number))
    return min(around)[1] if around else None


def _bridge(ring: Floats, hole: Floats) -> Floats:
    """Insert a hole into a ring, there and back along one line between their nearest corners.

    The line is a horizontal and a vertical one, so that both ways cross the same pixels in spite of rounding.
    """
    apart = ((ring[:, None] - hole[None]) ** 2).sum(axis=2)
    leave, enter = (int(index) for index in np.unravel_index(apart.argmin(), apart.shape))
    knee = np.array([[hole[enter, 0], ring[leave, 1]]])
    around = np.concatenate([hole[enter:], hole[: enter + 1]])
    return np.concatenate([ring[: leave + 1], knee, around, knee, ring[leave:]])
