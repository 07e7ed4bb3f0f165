"""COCO's matching of found to true boxes, one picture at a time, for every IoU threshold and area range at once.

The rules are those of pycocotools' `COCOeval.evaluateImg`. Matching never looks at another picture, so a set that is
drawn anew with repetitions keeps its matches.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

BoolArray = npt.NDArray[np.bool_]

# As pycocotools writes them, so that the same bits are compared.
IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
# Name → least and largest area in pixels; what lies on a limit belongs to both sides, as there.
AREA_RANGES = {
    "all": (0.0, 1e10),
    "small": (0.0, 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, 1e10),
}
# Boxes of one class in one picture that count, best first.
MAX_DETECTIONS = 100


@dataclass(frozen=True, eq=False)
class Matching:
    """How D found boxes of one picture fall, in the order they were given; A area ranges, T IoU thresholds.

    Attributes:
        hits: (A, T, D); a true positive.
        ignored: (A, T, D); does not count. With neither flag a box is a false positive.
        match: (D,) int64, index of the true box that it is matched to at the first threshold over all areas, or -1.
        iou: (D,) float64, largest IoU with a true box of its class, 0 where there is none.
    """

    hits: BoolArray
    ignored: BoolArray
    match: npt.NDArray[np.int64]
    iou: npt.NDArray[np.float64]


def box_areas(boxes: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Areas (M,) of boxes (M, 4), x1, y1, x2, y2."""
    return _areas(_xywh(boxes))


def in_ranges(areas: npt.NDArray[np.float64]) -> BoolArray:
    """Which area ranges each of M areas belongs to, (A, M)."""
    return np.array([(low <= areas) & (areas <= high) for low, high in AREA_RANGES.values()])


def match_boxes(
    true_boxes: npt.ArrayLike,
    true_labels: npt.ArrayLike,
    boxes: npt.ArrayLike,
    labels: npt.ArrayLike,
    scores: npt.ArrayLike,
) -> Matching:
    """Match the found boxes of one picture to its true ones, class by class.

    Args:
        true_boxes: (M, 4), x1, y1, x2, y2 in pixels.
        true_labels: (M,) class indexes.
        boxes: (D, 4), likewise.
        labels: (D,) class indexes.
        scores: (D,); the best is matched first, of equals the first.
    """
    truth, found = _xywh(true_boxes), _xywh(boxes)
    true_classes, classes = np.asarray(true_labels, np.int64).reshape(-1), np.asarray(labels, np.int64).reshape(-1)
    ranking = np.asarray(scores, np.float64).reshape(-1)
    shape = (len(AREA_RANGES), len(IOU_THRESHOLDS), len(found))
    # What never comes to be matched, beyond the first MAX_DETECTIONS of its class, does not count.
    hits, ignored = np.zeros(shape, bool), np.ones(shape, bool)
    match, best = np.full(len(found), -1), np.zeros(len(found))
    for label in np.unique(classes):
        own, true = np.flatnonzero(classes == label), np.flatnonzero(true_classes == label)
        own = own[np.argsort(-ranking[own], kind="mergesort")][:MAX_DETECTIONS]
        overlap = _iou(found[own], truth[true])  # (D', M')
        outside_true, outside = ~in_ranges(_areas(truth[true])), ~in_ranges(_areas(found[own]))
        partner = _greedy(overlap, outside_true)  # (A, T, D'), index into `true` or -1
        matched = partner >= 0
        on_ignored = matched & _taken(outside_true, partner)
        hits[:, :, own] = matched & ~on_ignored
        ignored[:, :, own] = on_ignored | (~matched & outside[:, None, :])
        first = partner[0, 0]
        match[own] = np.where(first >= 0, np.append(true, -1)[first], -1)
        best[own] = overlap.max(axis=1, initial=0.0)
    return Matching(hits, ignored, match, best)


def _greedy(overlap: npt.NDArray[np.float64], outside: BoolArray) -> npt.NDArray[np.int64]:
    """The true box of each found box at each area range and threshold, -1 for none.

    Args:
        overlap: (D, M) IoU, best-scored box first.
        outside: (A, M) true boxes that an area range leaves out: they take what no other true box does.
    """
    count = overlap.shape[1]
    partner = np.full((len(outside), len(IOU_THRESHOLDS), len(overlap)), -1)
    free = np.ones((len(outside), len(IOU_THRESHOLDS), count), bool)
    # A box that reaches no true one at the lowest threshold is matched at none.
    for row in np.flatnonzero(overlap.max(axis=1, initial=0.0) >= IOU_THRESHOLDS[0]):
        near = free & (overlap[row] >= IOU_THRESHOLDS[:, None])  # (A, T, M)
        counted = near & ~outside[:, None, :]
        choice = np.where(counted.any(axis=2, keepdims=True), counted, near)
        # Of equal overlaps the last true box is taken.
        best = count - 1 - np.argmax(np.where(choice, overlap[row], -1.0)[:, :, ::-1], axis=2)  # (A, T)
        found = choice.any(axis=2)
        partner[:, :, row] = np.where(found, best, -1)
        areas, thresholds = np.nonzero(found)
        free[areas, thresholds, best[areas, thresholds]] = False
    return partner


def _taken(outside: BoolArray, partner: npt.NDArray[np.int64]) -> BoolArray:
    """Of partners (A, T, D), by their index or -1, which ones lie outside (A, M) the area range."""
    padded = np.pad(outside, ((0, 0), (0, 1)))  # the last column stands for -1
    return np.array([flags[indexes] for flags, indexes in zip(padded, partner, strict=True)])


def _xywh(boxes: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Corners (M, 4) as left, top, width, height, in which pycocotools computes."""
    corners = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    return np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)


def _areas(xywh: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return xywh[:, 2] * xywh[:, 3]


def _iou(found: npt.NDArray[Any], truth: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """(D, M) IoU by pycocotools, to the last bit."""
    if not len(found) or not len(truth):
        return np.zeros((len(found), len(truth)))
    from pycocotools import mask

    return np.asarray(mask.iou(found, truth, [0] * len(truth)), dtype=np.float64)
