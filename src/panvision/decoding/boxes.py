"""Detection head outputs to boxes: FCOS box coding, scores and non-maximum suppression.

FCOS: Tian et al. 2020, https://arxiv.org/abs/2006.09214. NumPy only.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from panvision.decoding.points import FloatArray

# Candidates per image that enter NMS, best first: torchvision's and detectron2's FCOS keep as many per level.
TOP_CANDIDATES = 1000


class Thresholds(NamedTuple):
    """Which boxes are reported.

    Attributes:
        score: boxes scoring lower are left out.
        nms: of two boxes of one class overlapping by more than this IoU, the lower-scored goes.
        max_detections: boxes kept per picture, best first.
    """

    score: float
    nms: float
    max_detections: int


class Boxes(NamedTuple):
    """Detections of one image, best first.

    Attributes:
        boxes: (M, 4) float32, x1, y1, x2, y2 in pixels.
        scores: (M,) float32, 0 to 1.
        labels: (M,) int64, class index.
    """

    boxes: FloatArray
    scores: FloatArray
    labels: npt.NDArray[np.int64]


def sigmoid(logits: npt.ArrayLike) -> FloatArray:
    """1 / (1 + exp(-x)) as float32, without overflow at either end."""
    return np.exp(-np.logaddexp(0.0, -np.asarray(logits, dtype=np.float32))).astype(np.float32)


def decode_ltrb(points: FloatArray, strides: FloatArray, ltrb: FloatArray) -> FloatArray:
    """Distances from points to box edges, as boxes.

    Args:
        points: (P, 2) float32, x and y in pixels.
        strides: (P,) float32, pixels per unit of distance.
        ltrb: (..., P, 4) distances to the left, top, right and bottom edge, in strides.

    Returns:
        (..., P, 4) float32, x1, y1, x2, y2 in pixels.
    """
    distances = np.asarray(ltrb, dtype=np.float32) * strides[:, None]  # (..., P, 4) pixels
    return np.concatenate([points - distances[..., :2], points + distances[..., 2:]], axis=-1)


def box_areas(boxes: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Areas (M,) float64 of boxes (M, 4)."""
    sides = np.asarray(boxes[:, 2:], dtype=np.float64) - boxes[:, :2]
    return sides[:, 0] * sides[:, 1]


def nms(
    boxes: FloatArray,
    scores: FloatArray,
    labels: npt.NDArray[np.int64],
    *,
    iou_threshold: float,
    max_detections: int,
) -> npt.NDArray[np.int64]:
    """Greedy non-maximum suppression within each class.

    Args:
        boxes: (M, 4) x1, y1, x2, y2.
        scores: (M,).
        labels: (M,) class indexes; boxes of different classes never suppress each other.
        iou_threshold: of two boxes overlapping by more than this, the lower-scored goes.
        max_detections: boxes kept over all classes.

    Returns:
        Rows kept, by falling score; of equal scores the earlier row is better.
    """
    rows = np.argsort(-scores, kind="stable")
    # float64, so that an overlap that is exactly the threshold is not decided by rounding.
    boxes, labels = boxes.astype(np.float64), labels[rows]
    boxes = boxes[rows]
    areas = box_areas(boxes)
    alive = np.ones(len(rows), dtype=bool)
    kept: list[int] = []
    for best in range(len(rows)):
        if not alive[best]:
            continue
        kept.append(best)
        if len(kept) == max_detections:
            break
        rest = slice(best + 1, None)
        overlap = np.minimum(boxes[best, 2:], boxes[rest, 2:]) - np.maximum(boxes[best, :2], boxes[rest, :2])
        shared = np.prod(np.maximum(overlap, 0.0), axis=1)  # (rest,)
        union = areas[best] + areas[rest] - shared
        # Written without a division: boxes without area have no IoU, and suppress nothing.
        alive[rest] &= (shared <= iou_threshold * union) | (labels[rest] != labels[best])
    return rows[kept]


def select(
    class_logits: FloatArray,
    ltrb: FloatArray,
    centerness: FloatArray,
    *,
    points: tuple[FloatArray, FloatArray],
    image_size: int,
    thresholds: Thresholds,
) -> Boxes:
    """The boxes that one image's head outputs stand for.

    Args:
        class_logits: (P, K).
        ltrb: (P, 4) distances in strides.
        centerness: (P,) logits.
        points: what `level_points` gave for this image size: points (P, 2) and strides (P,).
        image_size: side S of the model's square; boxes are clipped to it.
        thresholds: which boxes are reported.

    Returns:
        Boxes in pixels of the model's square.
    """
    # Geometric mean of class probability and centerness, as FCOS ranks boxes.
    scores = np.sqrt(sigmoid(class_logits) * sigmoid(centerness)[:, None])  # (P, K)
    where, labels = np.nonzero(scores >= thresholds.score)
    candidates = scores[where, labels]
    order = np.argsort(-candidates, kind="stable")[:TOP_CANDIDATES]
    where, labels, candidates = where[order], labels[order], candidates[order]
    boxes = decode_ltrb(points[0][where], points[1][where], ltrb[where]).clip(0.0, image_size)
    solid = np.flatnonzero(box_areas(boxes) > 0.0)
    boxes, labels, candidates = boxes[solid], labels[solid], candidates[solid]
    kept = nms(boxes, candidates, labels, iou_threshold=thresholds.nms, max_detections=thresholds.max_detections)
    return Boxes(boxes[kept], candidates[kept], labels[kept].astype(np.int64))


def scale_boxes(boxes: FloatArray, image_size: int, width: int, height: int) -> FloatArray:
    """Boxes (M, 4) of the model's square, in the pixels of the picture that was stretched to it."""
    scale = np.array([width, height, width, height], dtype=np.float64) / image_size
    limits = np.array([width, height, width, height], dtype=np.float32)
    return np.minimum((boxes * scale).astype(np.float32), limits)
