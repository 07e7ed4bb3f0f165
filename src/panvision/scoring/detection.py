"""COCO's mean average precision, by pycocotools, without its traps."""

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

Truth = tuple[npt.NDArray[Any], npt.NDArray[Any]]
Prediction = tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]

# Boxes of one class in one picture that count, best first: COCO's own number.
MAX_DETECTIONS = 100


def coco_precision(
    truth: Sequence[Truth], predictions: Sequence[Prediction], num_classes: int
) -> npt.NDArray[np.float64]:
    """Precision at COCO's IoU thresholds and recall points.

    Args:
        truth: per picture boxes (M, 4), x1, y1, x2, y2 in pixels, and labels (M,).
        predictions: per picture boxes (M, 4), labels (M,) and scores (M,); pass every box, low scores too,
            for a threshold applied before changes the result.
        num_classes: K.

    Returns:
        (10, 101, K) float64: IoU 0.50 to 0.95, recall 0.00 to 1.00, class. A class without a true box is NaN;
        a class with true boxes and no prediction is 0.

    Raises:
        ValueError: not one prediction per picture.
    """
    if len(truth) != len(predictions):
        raise ValueError(f"{len(truth)} pictures but {len(predictions)} predictions; give one per picture")
    if not truth or not num_classes:
        return np.full((10, 101, num_classes), np.nan)
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools reports its progress by print
        evaluation = COCOeval(_coco(truth, num_classes), _coco(predictions, num_classes), iouType="bbox")
        # The result's last two axes, area range and detections per picture, shrink to one entry each.
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0.0, 1e10]], ["all"]
        evaluation.params.maxDets = [MAX_DETECTIONS]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = np.asarray(evaluation.eval["precision"], dtype=np.float64)[:, :, :, 0, 0]  # (10, 101, K)
    # pycocotools divides by a sum that it raises by 2⁻⁵²: rounding makes a perfect precision 1 again.
    return np.where(precision < 0.0, np.nan, precision.round(12))


def summarise_precision(precision: npt.NDArray[np.float64], class_names: Sequence[str]) -> dict[str, Any]:
    """Average precision from what `coco_precision` gives.

    Returns:
        `{"map50", "map50_95", "ap50": {name}}`, fractions. A class without a true box is None and left out of
        the means; None where no class has one.
    """
    known = [index for index in range(len(class_names)) if not np.isnan(precision[0, 0, index])]
    ap50 = {name: _mean(precision[0, :, [index]]) if index in known else None for index, name in enumerate(class_names)}
    return {"map50": _mean(precision[0][:, known]), "map50_95": _mean(precision[:, :, known]), "ap50": ap50}


def coco_scores(
    truth: Sequence[Truth], predictions: Sequence[Prediction], class_names: Sequence[str]
) -> dict[str, Any]:
    """Mean average precision of a set: `coco_precision`, summarised by `summarise_precision`."""
    return summarise_precision(coco_precision(truth, predictions, len(class_names)), class_names)


def _coco(pictures: Sequence[Truth | Prediction], num_classes: int) -> COCO:
    """A COCO set in memory. `COCO.loadRes` is not used: it fails on an empty list."""
    annotations: list[dict[str, Any]] = []
    for picture, (boxes, labels, *scores) in enumerate(pictures, start=1):
        corners = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
        for row, (x1, y1, x2, y2) in enumerate(corners.tolist()):
            annotation = {
                # From 1: pycocotools takes id 0 for "no match".
                "id": len(annotations) + 1,
                "image_id": picture,
                "category_id": int(labels[row]) + 1,
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "area": (x2 - x1) * (y2 - y1),
                "iscrowd": 0,
            }
            if scores:
                annotation["score"] = float(scores[0][row])
            annotations.append(annotation)
    coco = COCO()
    coco.dataset = {
        "images": [{"id": picture} for picture in range(1, len(pictures) + 1)],
        "categories": [{"id": index} for index in range(1, num_classes + 1)],
        "annotations": annotations,
    }
    coco.createIndex()
    return coco


def _mean(values: npt.NDArray[np.float64]) -> float | None:
    return float(values.mean()) if values.size else None
