"""Detection outputs to boxes: FCOS box coding, scores and non-maximum suppression.

FCOS: Tian et al. 2020, https://arxiv.org/abs/2006.09214. NumPy only.
"""

import functools
from typing import NamedTuple, TypedDict

import numpy as np
import numpy.typing as npt

from panvision.core.boxes import box_areas, box_iou
from panvision.decoding.decoder import Decoder, FloatArray, ModelShape, RawOutputs, Thresholds
from panvision.decoding.points import level_points

# Candidates per image that enter NMS, best first: torchvision's and detectron2's FCOS keep the same number per level.
TOP_CANDIDATES = 1000

_points = functools.lru_cache(maxsize=8)(level_points)


class BoxResult(TypedDict):
    """Boxes, best first: [x1, y1, x2, y2] in the image's own pixels, class index, score, class name."""

    boxes: list[list[float]]
    labels: list[int]
    scores: list[float]
    class_names: list[str]


class Boxes(NamedTuple):
    """Boxes of one image, best first.

    Attributes:
        boxes: (M, 4) float32, x1, y1, x2, y2 in pixels.
        scores: (M,) float32, 0 to 1.
        labels: (M,) int64, class index.
    """

    boxes: FloatArray
    scores: FloatArray
    labels: npt.NDArray[np.int64]


def shapes(model: ModelShape) -> dict[str, tuple[int, ...]]:
    """Return the shape of each raw output of one image: P locations over all levels, K classes."""
    locations = sum((model.image_size // stride) ** 2 for stride in model.strides)
    classes = len(model.det_class_names)
    return {"class_logits": (locations, classes), "ltrb": (locations, 4), "centerness": (locations,)}


def decode(outputs: RawOutputs, model: ModelShape, size: tuple[int, int]) -> BoxResult:
    """Decode the raw outputs of one image of (width, height) `size`."""
    found = select(
        outputs["class_logits"],
        outputs["ltrb"],
        outputs["centerness"],
        points=_points(model.image_size, model.strides),
        image_size=model.image_size,
        thresholds=model.thresholds,
    )
    labels: list[int] = found.labels.tolist()
    return {
        "boxes": scale_boxes(found.boxes, model.image_size, *size).tolist(),
        "labels": labels,
        "scores": found.scores.tolist(),
        "class_names": [model.det_class_names[label] for label in labels],
    }


def sigmoid(logits: npt.ArrayLike) -> FloatArray:
    """1 / (1 + exp(-x)) as float32, without overflow at either end."""
    return np.exp(-np.logaddexp(0.0, -np.asarray(logits, dtype=np.float32))).astype(np.float32)


def decode_ltrb(points: FloatArray, strides: FloatArray, ltrb: FloatArray) -> FloatArray:
    """Convert distances from locations to box edges into boxes.

    Args:
        points: (P, 2) float32, x and y in pixels.
        strides: (P,) float32, pixels per unit of distance.
        ltrb: (..., P, 4) distances to the left, top, right and bottom edge, in strides.

    Returns:
        (..., P, 4) float32, x1, y1, x2, y2 in pixels.
    """
    distances = np.asarray(ltrb, dtype=np.float32) * strides[:, None]  # (..., P, 4) pixels
    return np.concatenate([points - distances[..., :2], points + distances[..., 2:]], axis=-1)


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
        iou_threshold: of two boxes with a larger IoU, the one with the lower score is dropped.
        max_detections: boxes kept over all classes.

    Returns:
        Indexes of the kept boxes, by descending score; of equal scores the earlier box comes first.
    """
    rows = np.argsort(-scores, kind="stable")
    boxes, labels = boxes[rows], labels[rows]
    alive = np.ones(len(rows), dtype=bool)
    kept: list[int] = []
    for best in range(len(rows)):
        if not alive[best]:
            continue
        kept.append(best)
        if len(kept) == max_detections:
            break
        rest = slice(best + 1, None)
        alive[rest] &= (box_iou(boxes[best], boxes[rest])[0] <= iou_threshold) | (labels[rest] != labels[best])
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
    """Select the boxes of one image from its raw outputs.

    Args:
        class_logits: (P, K).
        ltrb: (P, 4) distances in strides.
        centerness: (P,) logits.
        points: `level_points` of this image size: locations (P, 2) and strides (P,).
        image_size: side S of the model's square; boxes are clipped to it.
        thresholds: which boxes are reported.

    Returns:
        Boxes in pixels of the model's square.
    """
    # Geometric mean of class probability and centerness: the score by which FCOS ranks boxes.
    scores = np.sqrt(sigmoid(class_logits) * sigmoid(centerness)[:, None])  # (P, K)
    # In float64, like a filter of the reported scores.
    where, labels = np.nonzero(scores >= np.array(thresholds.score, np.float64))
    candidates = scores[where, labels]
    order = np.argsort(-candidates, kind="stable")[:TOP_CANDIDATES]
    where, labels, candidates = where[order], labels[order], candidates[order]
    boxes = decode_ltrb(points[0][where], points[1][where], ltrb[where]).clip(0.0, image_size)
    solid = np.flatnonzero(box_areas(boxes) > 0.0)
    boxes, labels, candidates = boxes[solid], labels[solid], candidates[solid]
    kept = nms(boxes, candidates, labels, iou_threshold=thresholds.nms, max_detections=thresholds.max_detections)
    return Boxes(boxes[kept], candidates[kept], labels[kept].astype(np.int64))


def scale_boxes(boxes: FloatArray, image_size: int, width: int, height: int) -> FloatArray:
    """Scale boxes (M, 4) from the model's square to the pixels of the image that was resized to it."""
    scale = np.array([width, height, width, height], dtype=np.float64) / image_size
    limits = np.array([width, height, width, height], dtype=np.float32)
    return np.minimum((boxes * scale).astype(np.float32), limits)


DECODER = Decoder(shapes, decode)
