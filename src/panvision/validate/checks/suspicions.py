"""Suspicious labels: boxes unlike the others of their class, and class labels unlike those of similar images."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from panvision.core.boxes import box_iou
from panvision.core.cores import in_threads
from panvision.dataset.packed import PackedError, PackedSet
from panvision.dataset.problems import Problem, problem
from panvision.validate.checks.neighbours import find_neighbours

Floats = npt.NDArray[np.float64]

# A class with fewer boxes has no usual size or place.
_FEWEST_BOXES = 10
# A box is compared with its nearest 8 % of the class, at least three: a fault that was copied with its photo, or made
# several times in fewer boxes than that, does not become usual.
_FELLOWS = 0.08
_FEWEST_FELLOWS = 3
# Of a larger class every n-th box is compared with, so that time and memory stay bounded.
_MOST_COMPARED = 2048
# Unusual is twice the distance that nine in ten boxes of the class have.
_USUAL_SHARE = 0.9
_TIMES_USUAL = 2.0
# Smaller distances are never unusual: sizes that differ by a factor of 1.4 both ways (in logarithms of width, height
# and area, √6 · ln 1.4), places that differ by 0.15 of the image.
_NEAR_SIZE = 0.8
_NEAR_PLACE = 0.15
# Weight of a difference in size beside one in place: a place is compared with those of boxes of similar size, because
# several cameras see the same things at different places.
_SIZE_IN_PLACE = 0.2
# The range that messages call most of the class.
_MOST = (0.1, 0.9)
# From this overlap on two boxes may mark one object, by whether they have one class: a thing and its contents overlap.
_SAME_IOU = {True: 0.8, False: 0.9}

# The number of neighbours that a class label is compared with, how many of them must agree on another class, and the
# fraction of the images (those least similar to any other) whose neighbours are ignored.
_NEIGHBOURS = 5
_AGREEING = 4
_ISOLATED = 0.1
# A class is checked if this fraction of its images has a neighbour of the same class. If colours do not separate
# the class, neighbours of other classes mean nothing.
_RECOGNISED = 0.75
# Elements of a block of distances: 2 MB of float64, which stays in a core's cache.
_BLOCK_ELEMENTS = 1 << 18

# Pixels are read on a grid of 64 to 127 a side.
_GRID = 64
_IMAGES_AT_ONCE = 16
# CIELAB bins, finer among the warm colours of food. L* 0 to 100; a* green to red, b* blue to yellow.
_EDGES = (
    np.array([15.0, 30.0, 45.0, 60.0, 75.0, 90.0]),
    np.array([-8.0, 4.0, 12.0, 20.0, 32.0, 50.0]),
    np.array([-10.0, 2.0, 10.0, 18.0, 28.0, 42.0]),
)
# Standard deviation of the weight around the image's centre, in sides: the pan is in the middle.
_CENTRE = 0.2


@dataclass(frozen=True)
class _Boxes:
    """The boxes of one class: (M,) rows of their images, (M, 4) original pixels, (M, 2) sizes of the images."""

    rows: npt.NDArray[np.int64]
    xyxy: Floats
    images: Floats

    @property
    def sides(self) -> Floats:
        """(M, 2) width and height as fractions of the image's."""
        return np.maximum((self.xyxy[:, 2:] - self.xyxy[:, :2]) / self.images, 1e-6)

    @property
    def centres(self) -> Floats:
        """(M, 2) x and y as fractions of the image's width and height."""
        return (self.xyxy[:, :2] + self.xyxy[:, 2:]) / 2 / self.images


def suspicious_boxes(packed: PackedSet) -> list[Problem]:
    """Find boxes of an unusual size or place for their class, and boxes on top of another one.

    A box is unusual if the distance to its k-th nearest fellow (Ramaswamy, Rastogi, Shim 2000, "Efficient algorithms
    for mining outliers from large data sets") is large compared with that of others of its class. Unlike distances from
    a median, this works for classes with several usual sizes or places (several cameras), and ignores classes that are
    found anywhere. The place of a box of unusual size is not checked.

    Returns:
        `box_unusual_size` and `box_unusual_place`, the most unusual first, then `boxes_duplicated`.

    Raises:
        PackedError: the dataset has no boxes.
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
        checks = (("box_unusual_size", sizes, _size_reason), ("box_unusual_place", places, _place_reason))
        for code, strangeness, reason in checks:
            for box in np.flatnonzero(strangeness > 1.0).tolist():
                file = _name(packed, int(boxes.rows[box]))
                found.append((float(strangeness[box]), problem(code, file, reason(boxes, box, name))))
    found.sort(key=lambda pair: (-pair[0], pair[1]))
    return [unusual for _, unusual in found] + _duplicates(packed)


def _name(packed: PackedSet, row: int) -> str:
    return f"{packed.task}/{packed.files[row]}"


def _boxes_of(packed: PackedSet, label: int) -> _Boxes:
    """Return all boxes of one class."""
    chosen = [np.flatnonzero(labels == label) for labels in packed.labels or []]
    rows = np.repeat(np.arange(len(packed)), [len(members) for members in chosen])
    tables = [boxes[members] for boxes, members in zip(packed.boxes or [], chosen, strict=True)]
    xyxy = np.concatenate([np.zeros((0, 4), np.float32), *tables]).astype(np.float64)
    return _Boxes(rows, xyxy, packed.sizes[rows].astype(np.float64))


def _strangeness(points: Floats, near: float) -> Floats:
    """Return the distance of each point (M, D) from its fellows, in units of the greatest usual one, (M,).

    `near` is a distance that is never unusual.
    """
    step = -(-len(points) // _MOST_COMPARED)
    fellows = points[::step]
    rank = max(_FEWEST_FELLOWS, math.ceil(_FELLOWS * len(fellows)))
    block = max(1, _BLOCK_ELEMENTS // fellows.size)

    def farthest(start: int) -> Floats:
        """Return the distances of a block of points to their last fellow."""
        rows = np.arange(start, min(start + block, len(points)))
        apart = np.zeros((len(rows), len(fellows)))  # squared distances
        for axis in range(points.shape[1]):
            apart += (points[rows, axis, None] - fellows[:, axis]) ** 2
        # A point is not its own fellow.
        own = rows % step == 0
        apart[own, rows[own] // step] = np.inf
        return np.asarray(np.sqrt(np.partition(apart, rank - 1, axis=1)[:, rank - 1]))

    distances = np.concatenate(in_threads(farthest, range(0, len(points), block)))
    return distances / max(_TIMES_USUAL * float(np.quantile(distances, _USUAL_SHARE)), near)


def _size_reason(boxes: _Boxes, box: int, name: str) -> str:
    pixels = boxes.sides * boxes.images[box]
    width, height = pixels[box]
    (left, right), (low, high) = _range(pixels[:, 0]), _range(pixels[:, 1])
    others = f"{left:.0f}–{right:.0f} × {low:.0f}–{high:.0f} px in an image of this size"
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
        f"most {name} boxes of similar size have it at {others}"
    )


def _range(values: Floats) -> tuple[float, float]:
    """Return the bounds of most values; each is one of them, so that a single outlier does not stretch the range."""
    low, high = np.quantile(values, _MOST, method="nearest")
    return float(low), float(high)


def _box_text(name: str, box: npt.NDArray[np.floating]) -> str:
    return f"{name} box ({', '.join(f'{round(float(edge), 1):.10g}' for edge in box)})"


def _duplicates(packed: PackedSet) -> list[Problem]:
    """Find boxes on top of an earlier box of their image."""
    found: list[Problem] = []
    for row, (boxes, labels) in enumerate(zip(packed.boxes or [], packed.labels or [], strict=True)):
        overlaps = box_iou(boxes, boxes) if len(boxes) > 1 else np.zeros((0, 0))
        for later in range(1, len(overlaps)):
            limits = [_SAME_IOU[bool(label == labels[later])] for label in labels[:later]]
            excess = overlaps[later, :later] - limits
            first = int(excess.argmax())
            if not excess[first] >= 0.0:
                continue
            one, other = packed.classes[labels[first]], packed.classes[labels[later]]
            texts = f"{_box_text(one, boxes[first])} and {_box_text(other, boxes[later])}"
            kind = "two boxes of one class" if one == other else "boxes of two classes"
            reason = f"has {kind} at one place, IoU {overlaps[later, first]:.2f}: {texts}"
            found.append(problem("boxes_duplicated", _name(packed, row), reason))
    return found


def describe_colours(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Describe the colours of each image, those in the middle with the largest weight; needs no learned weights.

    The descriptor is the square root of a normalised CIELAB histogram, so that the scalar product of two is their
    Bhattacharyya coefficient. Only whole numbers are counted: the same pixels give the same descriptor on any machine.

    Args:
        images: (N, S, S, 3) uint8 sRGB, memory-mapped or not; read block by block.

    Returns:
        (N, 343) float32, each of length 1.
    """
    side = images.shape[1]
    step = max(1, side // _GRID)
    weights = _centre_weights(len(range(0, side, step)))
    bins = _colour_bins()
    descriptors = np.zeros((len(images), math.prod(len(edges) + 1 for edges in _EDGES)), np.float32)

    def describe(start: int) -> None:
        block = images[start : start + _IMAGES_AT_ONCE, ::step, ::step].astype(np.intp) >> 3
        codes = (block[..., 0] << 10) + (block[..., 1] << 5) + block[..., 2]
        colours = bins.take(codes, mode="clip")  # (n, side, side); faster than bins[codes]
        for row, image in enumerate(colours, start):
            histogram = np.bincount(image.ravel(), weights.ravel(), minlength=descriptors.shape[1])
            descriptors[row] = np.sqrt(histogram / weights.sum())

    in_threads(describe, range(0, len(images), _IMAGES_AT_ONCE))
    return descriptors


def _centre_weights(side: int) -> Floats:
    """Return a Gaussian around the middle as whole numbers, (side, side)."""
    places = (np.arange(side) + 0.5) / side - 0.5
    one = np.exp(-(places**2) / (2 * _CENTRE**2))
    return np.rint(1000.0 * one[:, None] * one[None]).astype(np.float64)


def _colour_bins() -> npt.NDArray[np.int64]:
    """Return the bin of each colour of 5 bits a channel, red in the highest bits, (32768,)."""
    codes = np.arange(1 << 15)
    rgb = np.stack([codes >> 10, (codes >> 5) & 31, codes & 31], axis=1)
    lab = _lab((rgb * 8 + 3.5) / 255.0)
    bins = np.zeros(len(codes), np.int64)
    for channel, edges in enumerate(_EDGES):
        bins = bins * (len(edges) + 1) + np.searchsorted(edges, lab[:, channel])
    return bins


def _lab(rgb: Floats) -> Floats:
    """Convert sRGB colours (M, 3) 0 to 1 to CIELAB under D65 (IEC 61966-2-1; CIE 15:2004, section 8.2.1)."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    relative = linear @ to_xyz.T / to_xyz.sum(axis=1)
    x, y, z = np.where(relative > (6 / 29) ** 3, np.cbrt(relative), relative * (29 / 6) ** 2 / 3 + 4 / 29).T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)


def suspicious_states(packed: PackedSet, descriptors: npt.NDArray[np.float32], groups: Sequence[str]) -> list[Problem]:
    """Find images whose most similar images have another class.

    Neighbours come from other groups, one of each: copies and bursts share a label, right or wrong. An image is
    reported if four of its five neighbours have one other class and none has its own, if it has near neighbours at all,
    and if colours separate its class from the others.

    Args:
        packed: a classification dataset of N images.
        descriptors: (N, L) float32 of length 1, from `describe_colours`.
        groups: the group of each image.

    Returns:
        `neighbours_disagree`, the images most similar to their neighbours first.

    Raises:
        PackedError: the dataset has no class labels.
        ValueError: descriptors or groups of another number of images.
    """
    states = packed.states
    if states is None:
        raise PackedError(f"{packed.folder}: {packed.task} has no class labels")
    if not len(packed) == len(descriptors) == len(groups):
        raise ValueError(f"{len(packed)} images, but {len(descriptors)} descriptors and {len(groups)} groups")
    numbers = np.unique(np.array(groups, dtype=object), return_inverse=True)[1]
    if len(packed) == 0 or int(numbers.max()) < _NEIGHBOURS:
        return []
    neighbours, nearness = find_neighbours(descriptors, numbers, _NEIGHBOURS)
    votes = np.stack([(states[neighbours] == label).sum(axis=1) for label in range(len(packed.classes))], axis=1)
    own = votes[np.arange(len(packed)), states]
    # Classes of which enough images have neighbours of the same class.
    checked = np.array(
        [
            float((own[states == label] > 0).mean() if label in states else 0.0) >= _RECOGNISED
            for label in range(len(packed.classes))
        ]
    )
    suspicious = (votes.max(axis=1) >= _AGREEING) & (own == 0) & checked[states]
    suspicious &= nearness >= np.quantile(nearness, _ISOLATED, method="nearest")
    rows = np.flatnonzero(suspicious)
    found: list[Problem] = []
    for row in rows[np.argsort(-nearness[rows], kind="stable")].tolist():
        other = int(votes[row].argmax())
        agreeing = neighbours[row][states[neighbours[row]] == other]
        reason = (
            f"labelled {packed.classes[states[row]]}, but {len(agreeing)} of its {_NEIGHBOURS} nearest neighbours are "
            f"labelled {packed.classes[other]}, first {_name(packed, int(agreeing[0]))}"
        )
        found.append(problem("neighbours_disagree", _name(packed, row), reason))
    return found
