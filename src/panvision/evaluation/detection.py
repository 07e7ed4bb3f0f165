"""Evaluation of boxes: COCO's average precision, and precision, recall, F1 and cost from each class's threshold on."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import inf
from typing import Any

import numpy as np
import numpy.typing as npt

from panvision.evaluation.evaluation import Evaluation, Table
from panvision.evaluation.intervals import Range
from panvision.evaluation.results import Results
from panvision.evaluation.thresholds import Curve, best_threshold, threshold_curve
from panvision.inference.explanation import Target, box_target
from panvision.inference.settings import DEFAULT_SCORE, DecisionSettings
from panvision.scoring import detection
from panvision.scoring.detection import BoxColumns
from panvision.scoring.matching import AREA_RANGES, IOU_THRESHOLDS, BoolArray, Matching
from panvision.scoring.ranking import RECALL_POINTS, RankedClass
from panvision.scoring.scorer import FloatArray, MetricsBySet, Tally, Weights, mean, ratio

# Thresholds of the drawn curves.
DRAWN = np.arange(101) / 100
# Costs of results from before there were any.
UNKNOWN = {"miss": np.nan, "false_alarm": np.nan}

logger = logging.getLogger(__name__)


def record(part: Mapping[str, Any], truth: Mapping[str, Any], classes: Sequence[str]) -> dict[str, Any]:
    """Record an image.

    Returns:
        `truth`: `boxes` and `labels`; `found`: `boxes` rounded to hundredths of a pixel, `labels`, `scores`, `match`
        and `iou` as in `Matching`, and `hits` and `ignored` as an integer per area range and box, bit t for the IoU
        threshold 0.50 + 0.05 t. `ranked`, if it is not the number of all boxes, is as in `joined`.
    """
    matching = detection.compare(part, truth)
    ranked = part.get("ranked", len(part["labels"]))
    return {
        "truth": {"boxes": np.asarray(truth["boxes"]).tolist(), "labels": np.asarray(truth["labels"]).tolist()},
        "found": {
            "boxes": _rounded(part["boxes"]),
            "labels": part["labels"],
            "scores": part["scores"],
            "match": matching.match.tolist(),
            "iou": matching.iou.round(4).tolist(),
            "hits": _to_bits(matching.hits),
            "ignored": _to_bits(matching.ignored),
            **({} if ranked == len(part["labels"]) else {"ranked": ranked}),
        },
    }


def tally(results: Results) -> Tally:
    """Average precision, and precision, recall, F1 and cost per image at IoU 0.5 from each class's threshold on."""
    matchings = [_matching(image) for image in results.images]
    precision = detection.tally([*map(_ranking, matchings, results.images)], results.classes)
    columns = BoxColumns(matchings)
    prices = results.costs or UNKNOWN
    counts = [
        None if limit is None else _counts(columns, label, limit) for label, limit in enumerate(results.thresholds)
    ]

    def metrics(weights: Weights) -> MetricsBySet:
        found = precision(weights)
        scores, costs = [], []
        for name, own in zip(results.classes, counts, strict=True):
            tp, fp, fn = (np.full(len(weights), np.nan),) * 3 if own is None else (weights @ own).T
            scores.append(ratio(2 * tp, 2 * tp + fp + fn))
            found[f"precision.{name}"], found[f"recall.{name}"] = ratio(tp, tp + fp), ratio(tp, tp + fn)
            found[f"f1.{name}"] = scores[-1]
            costs.append(ratio(prices["miss"] * fn + prices["false_alarm"] * fp, weights.sum(axis=1)))
        return found | {
            "macro_f1": mean(np.array(scores).reshape(-1, len(weights))),
            "expected_cost": np.array(costs).reshape(-1, len(weights)).sum(axis=0),
        }

    return metrics


def target(
    part: Mapping[str, Any], record: Mapping[str, Any], scale: Sequence[float]
) -> tuple[Target, dict[str, Any]] | None:
    """Explain the false alarm with the highest score, else the best box; `box` is its number in the reported part."""
    found, rows = record["found"], range(len(part["boxes"]))
    columns = zip(_keys(found), found["match"], found["ignored"]["all"], strict=True)
    alarms = {key for key, match, ignored in columns if match < 0 and not ignored & 1}
    keys = _keys({**part, "boxes": _rounded(part["boxes"])})
    row = next((row for row in rows if keys[row] in alarms), min(rows, default=None))
    return None if row is None else (box_target(part, row, scale), {"box": row})


def _rounded(boxes: Sequence[Sequence[float]]) -> list[list[float]]:
    """Round boxes as the record has them."""
    return [[round(edge, 2) for edge in box] for box in boxes]


def choose(results: Results, decision: DecisionSettings) -> dict[str, Any]:
    """Choose the score threshold of each class by a criterion at IoU 0.5, else DEFAULT_SCORE."""
    columns = BoxColumns([_matching(image) for image in results.images])
    thresholds = []
    for label, name in enumerate(results.classes):
        boxes = _boxes(columns, label)
        best = best_threshold(*boxes, decision)
        thresholds.append(DEFAULT_SCORE if best is None else best)
        precision = float(threshold_curve(*boxes, thresholds[-1:]).precision[0])
        if best is None:
            logger.warning(
                "detection: %s: no validation image shows what its threshold should be; it is %g", name, DEFAULT_SCORE
            )
        elif decision.criterion == "precision" and precision < decision.min_precision:
            logger.warning(
                "detection: %s: no threshold has decision.min_precision %g on the validation images; %.2f has the "
                "highest precision, %.3f",
                *(name, decision.min_precision, best, precision),
            )
    return {"thresholds": thresholds}


def _boxes(columns: BoxColumns, label: int) -> tuple[FloatArray, BoolArray, int]:
    """Scores and hits at IoU 0.5 of the boxes of a class that count, and the number of its true boxes."""
    own = (columns.labels == label) & ~columns.ignored[0, 0]
    return columns.scores[own], columns.hits[0, 0, own], int((columns.true_labels == label).sum())


def fixed(results: Results) -> dict[str, Any]:
    """Name the thresholds by class."""
    return {"threshold": dict(zip(results.classes, results.thresholds, strict=True))}


def plots(results: Results) -> dict[str, Table]:
    """Precision over 101 recall points, and what 101 thresholds give, at IoU 0.5, of each class with true boxes."""
    matchings = [_matching(image) for image in results.images]
    columns, ranking = BoxColumns(matchings), BoxColumns([*map(_ranking, matchings, results.images)])
    rows: list[tuple[str, float, float]] = []
    choices: list[tuple[object, ...]] = []
    for label, name in enumerate(results.classes):
        curve = precision_curve(ranking.ranked(label))
        if curve is not None:
            rows += [(name, point / 100, float(precision)) for point, precision in enumerate(curve)]
            choices += _choice_rows(name, threshold_curve(*_boxes(columns, label), DRAWN), results)
    return {
        "precision_recall": (("class", "recall", "precision"), rows),
        "thresholds": (("class", "threshold", "precision", "recall", "f1", "cost"), choices),
    }


def _choice_rows(name: str, curve: Curve, results: Results) -> list[tuple[object, ...]]:
    """Rows of the table `thresholds`, with the cost per image; an undefined value is empty."""
    cost = curve.cost(**(results.costs or UNKNOWN)) / len(results.images)
    columns = np.stack([curve.thresholds, curve.precision, curve.recall, curve.f1, cost], axis=1)
    return [(name, *("" if np.isnan(value) else float(value) for value in row)) for row in columns]


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


def joined(part: Mapping[str, Any], reported: Mapping[str, Any]) -> dict[str, Any]:
    """Append the reported boxes that the ranking of `part` does not have.

    `max_detections` cuts the ranking after the best boxes of all classes, and the reported boxes after those that reach
    the threshold of their class. The appended boxes have lower scores, so they change no match of the others.

    Returns:
        The joined part, and `ranked`: the number of boxes of the ranking, the first ones.
    """
    kept = set(_keys(part))
    rows = [row for row, key in enumerate(_keys(reported)) if key not in kept]
    both = {name: [*part[name], *(reported[name][row] for row in rows)] for name in ("boxes", "labels", "scores")}
    return both | {"ranked": len(part["labels"])}


def _keys(part: Mapping[str, Any]) -> list[tuple[float, ...]]:
    """Return what distinguishes each box."""
    columns = zip(part["boxes"], part["labels"], part["scores"], strict=True)
    return [(*box, label, score) for box, label, score in columns]


def ranges(results: Results) -> dict[str, Range]:
    """Return the range of the cost."""
    return {"expected_cost": (0.0, inf)}


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


def _ranking(found: Matching, image: Mapping[str, Any]) -> Matching:
    """Return the matching of the boxes that average precision ranks."""
    kept = slice(image["found"].get("ranked"))
    return replace(
        found,
        labels=np.asarray(found.labels)[kept],
        scores=np.asarray(found.scores)[kept],
        hits=found.hits[..., kept],
        ignored=found.ignored[..., kept],
        match=found.match[kept],
        iou=found.iou[kept],
    )


def _to_bits(flags: BoolArray) -> dict[str, list[int]]:
    """Flags (A, T, D) as an integer per area range and box, bit t from threshold t."""
    values = 2 ** np.arange(flags.shape[1])
    return {name: (values @ own).tolist() for name, own in zip(AREA_RANGES, flags, strict=True)}


def _from_bits(flags: npt.NDArray[np.int64]) -> BoolArray:
    """Integers (D,) as their bits (T, D)."""
    return (flags >> np.arange(len(IOU_THRESHOLDS))[:, None] & 1).astype(bool)


SMALLER = frozenset(("expected_cost",))
INTERPOLATED = frozenset(("map50", "map50_95", "ap50", "map_small", "map_medium", "map_large"))
EVALUATION = Evaluation(
    record,
    tally,
    choose,
    fixed,
    plots,
    joined=joined,
    smaller=SMALLER,
    ranges=ranges,
    interpolated=INTERPOLATED,
    target=target,
)
