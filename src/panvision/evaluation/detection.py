"""Evaluation of boxes: COCO's average precision, and precision, recall and F1 from each class's threshold on."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from panvision.decoding.decoder import Thresholds
from panvision.evaluation.evaluation import Evaluation, Table
from panvision.evaluation.results import Results
from panvision.evaluation.thresholds import best_threshold
from panvision.scoring import detection
from panvision.scoring.detection import BoxColumns
from panvision.scoring.matching import AREA_RANGES, IOU_THRESHOLDS, BoolArray, Matching
from panvision.scoring.ranking import RECALL_POINTS, RankedClass
from panvision.scoring.scorer import FloatArray, MetricsBySet, Tally, Weights, mean, ratio


def record(part: Mapping[str, Any], truth: Mapping[str, Any], classes: Sequence[str]) -> dict[str, Any]:
    """Record an image.

    Returns:
        `truth`: `boxes` and `labels`; `found`: `boxes` rounded to hundredths of a pixel, `labels`, `scores`, `match`
        and `iou` as in `Matching`, and `hits` and `ignored` as an integer per area range and box, bit t for the IoU
        threshold 0.50 + 0.05 t.
    """
    matching = detection.compare(part, truth)
    return {
        "truth": {"boxes": np.asarray(truth["boxes"]).tolist(), "labels": np.asarray(truth["labels"]).tolist()},
        "found": {
            "boxes": [[round(edge, 2) for edge in box] for box in part["boxes"]],
            "labels": part["labels"],
            "scores": part["scores"],
            "match": matching.match.tolist(),
            "iou": matching.iou.round(4).tolist(),
            "hits": _to_bits(matching.hits),
            "ignored": _to_bits(matching.ignored),
        },
    }


def tally(results: Results) -> Tally:
    """Average precision, and precision, recall and F1 at IoU 0.5 from each class's threshold on."""
    matched = [_matching(image) for image in results.images]
    precision = detection.tally(matched, results.classes)
    columns = BoxColumns(matched)
    counts = [
        None if limit is None else _counts(columns, label, limit) for label, limit in enumerate(results.thresholds)
    ]

    def metrics(weights: Weights) -> MetricsBySet:
        found = precision(weights)
        scores = []
        for name, own in zip(results.classes, counts, strict=True):
            tp, fp, fn = (np.full(len(weights), np.nan),) * 3 if own is None else (weights @ own).T
            scores.append(ratio(2 * tp, 2 * tp + fp + fn))
            found[f"precision.{name}"], found[f"recall.{name}"] = ratio(tp, tp + fp), ratio(tp, tp + fn)
            found[f"f1.{name}"] = scores[-1]
        return found | {"macro_f1": mean(np.array(scores).reshape(-1, len(weights)))}

    return metrics


def choose(results: Results) -> dict[str, Any]:
    """Choose for each class the score with the best F1 at IoU 0.5; None without a true positive."""
    columns = BoxColumns([_matching(image) for image in results.images])
    thresholds = []
    for label in range(len(results.classes)):
        own = (columns.labels == label) & ~columns.ignored[0, 0]
        positives = int((columns.true_labels == label).sum())
        thresholds.append(best_threshold(columns.scores[own], columns.hits[0, 0, own], positives))
    return {"thresholds": thresholds}


def fixed(results: Results) -> dict[str, Any]:
    """Name the thresholds by class."""
    return {"threshold": dict(zip(results.classes, results.thresholds, strict=True))}


def plots(results: Results) -> dict[str, Table]:
    """Precision over 101 recall points at IoU 0.5 of each class with true boxes."""
    columns = BoxColumns([_matching(image) for image in results.images])
    rows: list[tuple[str, float, float]] = []
    for label, name in enumerate(results.classes):
        curve = precision_curve(columns.ranked(label))
        if curve is not None:
            rows += [(name, point / 100, float(precision)) for point, precision in enumerate(curve)]
    return {"precision_recall": (("class", "recall", "precision"), rows)}


def precision_curve(ranked: RankedClass) -> FloatArray | None:
    """Precision at each recall point, every image counted once, at the first IoU threshold over all areas.

    Returns:
        (101,); None without a true box.
    """
    total = int(ranked.truths[0].sum())
    if not total:
        return None
    hit = ranked.hits[0, 0]
    found, number = np.cumsum(hit)[hit], np.cumsum(ranked.counted[0, 0])[hit]
    best = np.maximum.accumulate((found / number)[::-1])[::-1]
    first = np.searchsorted(found / total, RECALL_POINTS, side="left")
    return np.append(best, 0.0)[first]


def stored(part: Mapping[str, Any], thresholds: Thresholds) -> dict[str, Any]:
    """Keep the boxes that are reported."""
    count = sum(score >= thresholds.score for score in part["scores"])  # best first
    return {name: values[:count] for name, values in part.items()}


def _counts(columns: BoxColumns, label: int, limit: float) -> FloatArray:
    """True positives, false positives and misses of each image at IoU 0.5, (N, 3), from a score on."""
    kept = (columns.labels == label) & (columns.scores >= limit) & ~columns.ignored[0, 0]
    right = columns.hits[0, 0]
    tp, fp, positives = (
        columns.per_image(image)
        for image in (
            columns.image[kept & right],
            columns.image[kept & ~right],
            columns.true_image[columns.true_labels == label],
        )
    )
    return np.stack([tp, fp, positives - tp], axis=1).astype(np.float64)


def _matching(image: Mapping[str, Any]) -> Matching:
    """Restore the matching of a recorded image."""
    truth, found = image["truth"], image["found"]
    hits, ignored = (
        np.array([_from_bits(np.array(found[flag][area], np.int64)) for area in AREA_RANGES])
        for flag in ("hits", "ignored")
    )
    match, iou = np.array(found["match"], np.int64), np.array(found["iou"], np.float64)
    return Matching(found["labels"], found["scores"], hits, ignored, match, iou, truth["boxes"], truth["labels"])


def _to_bits(flags: BoolArray) -> dict[str, list[int]]:
    """Flags (A, T, D) as an integer per area range and box, bit t from threshold t."""
    values = 2 ** np.arange(flags.shape[1])
    return {name: (values @ own).tolist() for name, own in zip(AREA_RANGES, flags, strict=True)}


def _from_bits(flags: npt.NDArray[np.int64]) -> BoolArray:
    """Integers (D,) as their bits (T, D)."""
    return (flags >> np.arange(len(IOU_THRESHOLDS))[:, None] & 1).astype(bool)


EVALUATION = Evaluation(record, tally, choose, fixed, plots, stored)
