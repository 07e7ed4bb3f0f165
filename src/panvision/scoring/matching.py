"""COCO's matching of predicted to true boxes in one image, for every IoU threshold and area range at once.

The rules are those of pycocotools' `COCOeval.evaluateImg`. Matching never looks at another image, so a set of some
images keeps its matches.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from panvision.core.boxes import box_areas, box_iou, box_overlap

BoolArray = npt.NDArray[np.bool_]

# As pycocotools computes them, so that the same bits are compared.
IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
# Name → smallest and largest area in pixels; as in pycocotools, an area on a limit belongs to both ranges.
AREA_RANGES = {
    "all": (0.0, 1e10),
    "small": (0.0, 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, 1e10),
}
# Boxes of one class in one image that count, best first.
MAX_DETECTIONS = 100


@dataclass(frozen=True, eq=False)
class Matching:
    """D predicted and M true boxes of one image; A area ranges, T IoU thresholds.

    Attributes:
        labels: (D,) class indexes.
        scores: (D,).
        hits: (A, T, D), True for a true positive.
        ignored: (A, T, D), True for a box that does not count. With neither flag a box is a false positive.
        match: (D,) index of the matched true box at the first threshold over all areas, or -1.
        iou: (D,) largest IoU with a true box of the same class, 0 without one.
        true_boxes: (M, 4), x1, y1, x2, y2 in pixels.
        true_labels: (M,) class indexes.
    """

    labels: npt.ArrayLike
    scores: npt.ArrayLike
    hits: BoolArray
    ignored: BoolArray
    match: npt.NDArray[np.int64]
    iou: npt.NDArray[np.float64]
    true_boxes: npt.ArrayLike
    true_labels: npt.ArrayLike


def in_ranges(areas: npt.NDArray[np.float64]) -> BoolArray:
    """Area ranges that each of M areas belongs to, (A, M)."""
    return np.array([(low <= areas) & (areas <= high) for low, high in AREA_RANGES.values()])


def match_boxes(
    true_boxes: npt.ArrayLike,
    true_labels: npt.ArrayLike,
    boxes: npt.ArrayLike,
    labels: npt.ArrayLike,
    scores: npt.ArrayLike,
    *,
    crowds: npt.ArrayLike = (),
    crowd_labels: npt.ArrayLike = (),
) -> Matching:
    """Match the predicted boxes of one image to its true ones, class by class.

    A predicted box without a true box, but with enough of its area on a crowd, is ignored, like in COCO.

    Args:
        true_boxes: (M, 4), x1, y1, x2, y2 in pixels.
        true_labels: (M,) class indexes.
        boxes: (D, 4), x1, y1, x2, y2 in pixels.
        labels: (D,) class indexes.
        scores: (D,); the box with the highest score is matched first, of equal scores the first box.
        crowds, crowd_labels: (C, 4) and (C,), the regions of several objects of a class each.
    """
    truth = np.asarray(true_boxes, np.float64).reshape(-1, 4)
    found = np.asarray(boxes, np.float64).reshape(-1, 4)
    true_classes, classes = np.asarray(true_labels, np.int64).reshape(-1), np.asarray(labels, np.int64).reshape(-1)
    ranking = np.asarray(scores, np.float64).reshape(-1)
    shape = (len(AREA_RANGES), len(IOU_THRESHOLDS), len(found))
    # Boxes beyond the first MAX_DETECTIONS of their class are never matched and do not count.
    hits, ignored = np.zeros(shape, bool), np.ones(shape, bool)
    match, best = np.full(len(found), -1), np.zeros(len(found))
    regions, region_classes = np.asarray(crowds, np.float64).reshape(-1, 4), np.asarray(crowd_labels, np.int64)
    for label in np.unique(classes):
        own, true = np.flatnonzero(classes == label), np.flatnonzero(true_classes == label)
        around = regions[region_classes.reshape(-1) == label]
        own = own[np.argsort(-ranking[own], kind="mergesort")][:MAX_DETECTIONS]
        overlap = box_iou(found[own], truth[true])  # (D', M')
        outside_true, outside = ~in_ranges(box_areas(truth[true])), ~in_ranges(box_areas(found[own]))
        # Crowds are further columns, outside every range; what counts is the part of the predicted box on them.
        outside_true = np.pad(outside_true, ((0, 0), (0, len(around))), constant_values=True)
        both = np.concatenate([overlap, box_overlap(found[own], around)], axis=1)
        partner = _greedy(both, outside_true, crowds=len(around))  # (A, T, D'), index of a column or -1
        matched = partner >= 0
        on_ignored = matched & _taken(outside_true, partner)
        hits[:, :, own] = matched & ~on_ignored
        ignored[:, :, own] = on_ignored | (~matched & outside[:, None, :])
        first = partner[0, 0]
        match[own] = np.append(true, [-1] * (len(around) + 1))[first]
        best[own] = overlap.max(axis=1, initial=0.0)
    return Matching(classes, ranking, hits, ignored, match, best, truth, true_classes)


def _greedy(overlap: npt.NDArray[np.float64], outside: BoolArray, *, crowds: int) -> npt.NDArray[np.int64]:
    """Match each predicted box at each area range and threshold to a true box, or to none (-1).

    Args:
        overlap: (D, M) IoU, the box with the highest score first.
        outside: (A, M) true boxes outside an area range; they are matched only where no other true box is left.
        crowds: number of the last columns that any number of boxes may be matched to.
    """
    count = overlap.shape[1]
    partner = np.full((len(outside), len(IOU_THRESHOLDS), len(overlap)), -1)
    free = np.ones((len(outside), len(IOU_THRESHOLDS), count), bool)
    # A box below the lowest threshold is matched at none.
    for row in np.flatnonzero(overlap.max(axis=1, initial=0.0) >= IOU_THRESHOLDS[0]):
        near = free & (overlap[row] >= IOU_THRESHOLDS[:, None])  # (A, T, M)
        counted = near & ~outside[:, None, :]
        choice = np.where(counted.any(axis=2, keepdims=True), counted, near)
        # Of equal overlaps the last true box is taken.
        best = count - 1 - np.argmax(np.where(choice, overlap[row], -1.0)[:, :, ::-1], axis=2)  # (A, T)
        found = choice.any(axis=2)
        partner[:, :, row] = np.where(found, best, -1)
        areas, thresholds = np.nonzero(found)
        free[areas, thresholds, best[areas, thresholds]] = best[areas, thresholds] >= count - crowds
    return partner


def _taken(outside: BoolArray, partner: npt.NDArray[np.int64]) -> BoolArray:
    """Mark the partners (A, T, D), an index or -1, that are outside (A, M) the area range."""
    padded = np.pad(outside, ((0, 0), (0, 1)))  # the last column is that of -1
    return np.array([flags[indexes] for flags, indexes in zip(padded, partner, strict=True)])
