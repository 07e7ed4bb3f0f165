"""Labels worth a second look: boxes unlike the others of their class, and states unlike those of similar pictures."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from panvision.core.cores import in_threads
from panvision.dataset.packed import PackedError, PackedSet
from panvision.dataset.problems import Problem, problem
from panvision.validate.checks.neighbours import find_neighbours

Floats = npt.NDArray[np.float64]

# A class with fewer boxes has no usual size or place.
_FEWEST_BOXES = 10
# A box's fellows are the nearest 8 % of its class, three at least: a fault that was copied with its photo, or made
# again and again in fewer boxes than that, does not make itself usual.
_FELLOWS = 0.08
_FEWEST_FELLOWS = 3
# Of a larger class every n-th box is compared with, so that time and memory stay bounded.
_MOST_COMPARED = 2048
# Unusual is what lies twice as far from its fellows as nine in ten of its class do.
_USUAL_SHARE = 0.9
_TIMES_USUAL = 2.0
# And never what lies nearer than this: sizes that differ by a factor of 1.4 both ways (in logarithms of width, height
# and area, √6 · ln 1.4), places that differ by 0.15 of the picture.
_NEAR_SIZE = 0.8
_NEAR_PLACE = 0.15
# How much a difference in size counts beside one in place: a place is compared with those of boxes of like size, as
# where several cameras see the same things at different places.
_SIZE_IN_PLACE = 0.2
# The range that messages call most of the class.
_MOST = (0.1, 0.9)
# From this overlap on two boxes may mark one object. Two things of one class hardly lie so; of two classes, a thing and
# what fills it do.
_SAME_IOU = 0.8
_SAME_IOU_OF_TWO = 0.9

# The neighbours that a picture's state is compared with, how many of them must agree on another class, and the share
# of the pictures (those least like any other) whose neighbours say nothing.
_NEIGHBOURS = 5
_AGREEING = 4
_ISOLATED = 0.1
# A class is judged if this share of its pictures has one of its own among the neighbours; where looks do not tell
# the class, neighbours of other classes are no news.
_RECOGNISED = 0.75
# Elements of a block of distances: 2 MB of float64, which a core keeps near.
_BLOCK_ELEMENTS = 1 << 18

# Pixels are read on a grid of 64 to 127 a side.
_GRID = 64
_IMAGES_AT_ONCE = 16
# CIELAB bins, finer among the warm colours that food has. L* 0 to 100; a* green to red, b* blue to yellow.
_EDGES = (
    np.array([15.0, 30.0, 45.0, 60.0, 75.0, 90.0]),
    np.array([-8.0, 4.0, 12.0, 20.0, 32.0, 50.0]),
    np.array([-10.0, 2.0, 10.0, 18.0, 28.0, 42.0]),
)
# Standard deviation of the weight around the picture's centre, in sides: the pan stands in the middle.
_CENTRE = 0.2


@dataclass(frozen=True)
class _Boxes:
    """The boxes of one class.

    Attributes:
        rows: (M,) the packed image of each.
        xyxy: (M, 4) original pixels.
        pictures: (M, 2) width and height of the original images.
    """

    rows: npt.NDArray[np.int64]
    xyxy: Floats
    pictures: Floats

    @property
    def sides(self) -> Floats:
        """(M, 2) width and height as fractions of the picture's."""
        return np.maximum((self.xyxy[:, 2:] - self.xyxy[:, :2]) / self.pictures, 1e-6)

    @property
    def centres(self) -> Floats:
        """(M, 2) x and y as fractions of the picture's width and height."""
        return (self.xyxy[:, :2] + self.xyxy[:, 2:]) / 2 / self.pictures


def suspicious_boxes(packed: PackedSet) -> list[Problem]:
    """Boxes of a size or at a place that is unusual for their class, and boxes that lie on another one.

    A box is unusual if the distance to its k-th nearest fellow (Ramaswamy, Rastogi, Shim 2000, "Efficient algorithms
    for mining outliers from large data sets") is large beside those of its class. Unlike the distance from a median
    in median absolute deviations, this holds for classes with several usual sizes or places (several cameras), and
    leaves alone those that lie anywhere. A box of unusual size is not judged by its place.

    Returns:
        `box_unusual_size` and `box_unusual_place`, the most unusual first, then `boxes_duplicated`.

    Raises:
        PackedError: the set has no boxes.
    """
    if packed.boxes is None or packed.labels is None:
        raise PackedError(f"{packed.folder}: {packed.task} has no boxes")
    found: list[tuple[float, Problem]] = []
    for label, name in enumerate(packed.classes):
        boxes = _boxes_of(packed, label)
        if len(boxes.rows) < _FEWEST_BOXES:
            continue
        logs = np.log(boxes.sides)
        sizes = _strangeness(np.column_stack([logs, logs.sum(axis=1)]), _NEAR_SIZE)
        places = _strangeness(np.column_stack([boxes.centres, _SIZE_IN_PLACE * logs]), _NEAR_PLACE)
        places[sizes > 1.0] = 0.0
        for code, strangeness, reason in (
            ("box_unusual_size", sizes, _size_reason),
            ("box_unusual_place", places, _place_reason),
        ):
            for box in np.flatnonzero(strangeness > 1.0).tolist():
                file = _name(packed, int(boxes.rows[box]))
                found.append((float(strangeness[box]), problem(code, file, reason(boxes, box, name))))
    found.sort(key=lambda pair: (-pair[0], pair[1]))
    return [unusual for _, unusual in found] + _duplicates(packed)


def _name(packed: PackedSet, row: int) -> str:
    """The path of an image below the folder of all sets."""
    return f"{packed.task}/{packed.files[row]}"


def _boxes_of(packed: PackedSet, label: int) -> _Boxes:
    """All boxes of one class."""
    chosen = [np.flatnonzero(labels == label) for labels in packed.labels or []]
    rows = np.repeat(np.arange(len(packed)), [len(members) for members in chosen])
    tables = [boxes[members] for boxes, members in zip(packed.boxes or [], chosen, strict=True)]
    xyxy = np.concatenate([np.zeros((0, 4), np.float32), *tables]).astype(np.float64)
    return _Boxes(rows, xyxy, packed.sizes[rows].astype(np.float64))


def _strangeness(points: Floats, near: float) -> Floats:
    """How many times the greatest usual distance each point lies from its fellows, (M,).

    Args:
        points: (M, D), at least `_FEWEST_BOXES`.
        near: a distance that is never unusual.
    """
    step = -(-len(points) // _MOST_COMPARED)
    fellows = points[::step]
    rank = max(_FEWEST_FELLOWS, math.ceil(_FELLOWS * len(fellows)))
    block = max(1, _BLOCK_ELEMENTS // fellows.size)

    def farthest(start: int) -> Floats:
        """The distances of a block of points to their last fellow."""
        rows = np.arange(start, min(start + block, len(points)))
        apart = np.zeros((len(rows), len(fellows)))  # squared distances
        for axis in range(points.shape[1]):
            apart += (points[rows, axis, None] - fellows[:, axis]) ** 2
        # A point is no fellow of its own.
        own = rows % step == 0
        apart[own, rows[own] // step] = np.inf
        return np.asarray(np.sqrt(np.partition(apart, rank - 1, axis=1)[:, rank - 1]))

    distances = np.concatenate(in_threads(farthest, range(0, len(points), block)))
    return distances / max(_TIMES_USUAL * float(np.quantile(distances, _USUAL_SHARE)), near)


def _size_reason(boxes: _Boxes, box: int, name: str) -> str:
    pixels = boxes.sides * boxes.pictures[box]
    width, height = pixels[box]
    (left, right), (low, high) = _range(pixels[:, 0]), _range(pixels[:, 1])
    others = f"{left:.0f}–{right:.0f} × {low:.0f}–{high:.0f} px in a picture of this size"
    if left <= width <= right and low <= height <= high:
        others += ", in another proportion"
    return f"has a {_box_text(name, boxes.xyxy[box])}, {width:.0f} × {height:.0f} px; most {name} boxes are {others}"


def _place_reason(boxes: _Boxes, box: int, name: str) -> str:
    apart = np.linalg.norm(np.log(boxes.sides) - np.log(boxes.sides[box]), axis=1)
    alike = np.argsort(apart, kind="stable")[: max(_FEWEST_BOXES, len(apart) // 5)]
    x, y = boxes.centres[box]
    (left, right), (top, bottom) = _range(boxes.centres[alike, 0]), _range(boxes.centres[alike, 1])
    others = f"{left:.0%}–{right:.0%} and {top:.0%}–{bottom:.0%}"
    if left <= x <= right and top <= y <= bottom:
        others += ", but not there"
    return (
        f"has a {_box_text(name, boxes.xyxy[box])}, with its centre {x:.0%} across and {y:.0%} down; "
        f"most {name} boxes of like size have it at {others}"
    )


def _range(values: Floats) -> tuple[float, float]:
    """The bounds of most values; each is one of them, so that a single odd one does not stretch the range."""
    low, high = np.quantile(values, _MOST, method="nearest")
    return float(low), float(high)


def _box_text(name: str, box: npt.NDArray[np.floating]) -> str:
    return f"{name} box ({', '.join(f'{round(float(edge), 1):.10g}' for edge in box)})"


def _duplicates(packed: PackedSet) -> list[Problem]:
    """Boxes that lie on an earlier box of their image."""
    found: list[Problem] = []
    for row, (boxes, labels) in enumerate(zip(packed.boxes or [], packed.labels or [], strict=True)):
        for later in range(1, len(boxes)):
            overlaps = _iou(boxes[later].astype(np.float64), boxes[:later].astype(np.float64))
            excess = overlaps - np.where(labels[:later] == labels[later], _SAME_IOU, _SAME_IOU_OF_TWO)
            first = int(excess.argmax())
            if not excess[first] >= 0.0:
                continue
            one, other = packed.classes[labels[first]], packed.classes[labels[later]]
            texts = f"{_box_text(one, boxes[first])} and {_box_text(other, boxes[later])}"
            kind = "two boxes of one class" if one == other else "boxes of two classes"
            reason = f"has {kind} at one place, IoU {overlaps[first]:.2f}: {texts}"
            found.append(problem("boxes_duplicated", _name(packed, row), reason))
    return found


def _iou(box: Floats, others: Floats) -> Floats:
    """Intersection over union of one box (4,) with each of (M, 4)."""
    corners = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    inner = np.maximum(corners, 0.0).prod(axis=1)
    areas = (others[:, 2:] - others[:, :2]).prod(axis=1)
    return inner / np.maximum((box[2:] - box[:2]).prod() + areas - inner, 1e-12)


def describe_colours(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """The colours of each picture, those in the middle counting most; needs no learned weights.

    The square root of a normalised CIELAB histogram, so that the scalar product of two is their Bhattacharyya
    coefficient. Whole numbers are counted, up to the root: the same pixels give the same descriptor anywhere.

    Args:
        images: (N, S, S, 3) uint8 sRGB, memory-mapped or not; read block by block.

    Returns:
        (N, 343) float32, each of length 1.
    """
    side = images.shape[1]
    step = max(1, side // _GRID)
    weights = _centre_weights(len(range(0, side, step)))
    bins = _colour_bins()
    looks = np.zeros((len(images), math.prod(len(edges) + 1 for edges in _EDGES)), np.float32)

    def describe(start: int) -> None:
        block = images[start : start + _IMAGES_AT_ONCE, ::step, ::step].astype(np.intp) >> 3
        codes = (block[..., 0] << 10) + (block[..., 1] << 5) + block[..., 2]
        colours = bins.take(codes, mode="clip")  # (n, side, side); as bins[codes], only quicker
        for row, picture in enumerate(colours, start):
            histogram = np.bincount(picture.ravel(), weights.ravel(), minlength=looks.shape[1])
            looks[row] = np.sqrt(histogram / weights.sum())

    in_threads(describe, range(0, len(images), _IMAGES_AT_ONCE))
    return looks


def _centre_weights(side: int) -> Floats:
    """(side, side) whole numbers, a Gaussian around the middle."""
    places = (np.arange(side) + 0.5) / side - 0.5
    one = np.exp(-(places**2) / (2 * _CENTRE**2))
    return np.rint(1000.0 * one[:, None] * one[None]).astype(np.float64)


def _colour_bins() -> npt.NDArray[np.int64]:
    """(32768,) the bin of each colour of 5 bits a channel, red in the highest bits."""
    codes = np.arange(1 << 15)
    rgb = np.stack([codes >> 10, (codes >> 5) & 31, codes & 31], axis=1)
    lab = _lab((rgb * 8 + 3.5) / 255.0)
    bins = np.zeros(len(codes), np.int64)
    for channel, edges in enumerate(_EDGES):
        bins = bins * (len(edges) + 1) + np.searchsorted(edges, lab[:, channel])
    return bins


def _lab(rgb: Floats) -> Floats:
    """Colours of sRGB (M, 3) 0 to 1 in CIELAB under D65 (IEC 61966-2-1; CIE 15:2004, section 8.2.1)."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    relative = linear @ to_xyz.T / to_xyz.sum(axis=1)
    x, y, z = np.where(relative > (6 / 29) ** 3, np.cbrt(relative), relative * (29 / 6) ** 2 / 3 + 4 / 29).T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)


def suspicious_states(packed: PackedSet, looks: npt.NDArray[np.float32], groups: Sequence[str]) -> list[Problem]:
    """Pictures whose neighbours by look bear another class than they do.

    Neighbours are looked for in other groups, the nearest picture of each: copies and bursts share a label, right or
    wrong. A picture is reported if four of its five neighbours bear one other class and none its own, if it has near
    neighbours at all, and if its class is one that looks can tell.

    Args:
        packed: a classification set of N pictures.
        looks: (N, L) float32 of length 1, as from `describe_colours`.
        groups: of each picture; what must not be split apart.

    Returns:
        `neighbours_disagree`, the pictures most like their neighbours first.

    Raises:
        PackedError: the set has no states.
        ValueError: looks or groups of another number of pictures.
    """
    states = packed.states
    if states is None:
        raise PackedError(f"{packed.folder}: {packed.task} has no states")
    if not len(packed) == len(looks) == len(groups):
        raise ValueError(f"{len(packed)} pictures, but {len(looks)} looks and {len(groups)} groups")
    numbers = np.unique(np.array(groups, dtype=object), return_inverse=True)[1]
    if len(packed) == 0 or int(numbers.max()) < _NEIGHBOURS:
        return []
    neighbours, nearness = find_neighbours(looks, numbers, _NEIGHBOURS)
    votes = np.stack([(states[neighbours] == label).sum(axis=1) for label in range(len(packed.classes))], axis=1)
    own = votes[np.arange(len(packed)), states]
    told = np.array([_recognised(own[states == label]) for label in range(len(packed.classes))])
    suspicious = (votes.max(axis=1) >= _AGREEING) & (own == 0) & told[states]
    suspicious &= nearness >= np.quantile(nearness, _ISOLATED, method="nearest")
    rows = np.flatnonzero(suspicious)
    return [
        problem(
            "neighbours_disagree",
            _name(packed, row),
            _disagreement(packed, states, row, neighbours[row][states[neighbours[row]] == votes[row].argmax()]),
        )
        for row in rows[np.argsort(-nearness[rows], kind="stable")].tolist()
    ]


def _recognised(own: npt.NDArray[np.int64]) -> bool:
    """Whether enough pictures of a class have neighbours of it; `own` is how many each has."""
    return len(own) > 0 and float((own > 0).mean()) >= _RECOGNISED


def _disagreement(packed: PackedSet, states: npt.NDArray[np.int64], row: int, agreeing: npt.NDArray[np.int64]) -> str:
    """The reason; `agreeing` are the neighbours that bear one other class, the most similar first."""
    count = "all" if len(agreeing) == _NEIGHBOURS else str(len(agreeing))
    return (
        f"bears {packed.classes[states[row]]}, while of the {_NEIGHBOURS} pictures of other groups that look most "
        f"like it {count} bear {packed.classes[states[agreeing[0]]]}, first {_name(packed, int(agreeing[0]))}"
    )
