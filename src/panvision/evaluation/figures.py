"""Every figure of a task from its per-image results, for any number of sets in which pictures count several times.

What a picture adds is computed once; a set's figures then come from sums with the pictures' weights. So the figures of
the split itself (every weight 1), of bootstrap sets and of two models on the same sets all come from here.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from panvision.evaluation.bootstrap import Interval, Weights, percentile_interval, resampled
from panvision.evaluation.boxes import BoxColumns
from panvision.evaluation.calibration import BINS, confidence_bins, negative_log_likelihood, scale
from panvision.evaluation.results import Results
from panvision.scoring.matching import AREA_RANGES, IOU_THRESHOLDS
from panvision.scoring.ranking import average_precision

FloatArray = npt.NDArray[np.float64]
# Name → (R,), NaN where undefined. A dot parts a figure's name from a class's: `recall.burnt`.
FiguresBySet = dict[str, FloatArray]

# Decimals of what is written: sums of floats differ beyond them by the number of threads.
DIGITS = 12
# Figures of which less is better; of all others more is.
BOUNDARY_ERRORS = ("boundary_mean_px", "boundary_p95_px", "boundary_mean", "boundary_p95")
SMALLER_IS_BETTER = frozenset((*BOUNDARY_ERRORS, "mae_states", "nll", "ece", "nll_scaled", "ece_scaled"))


class Tally(Protocol):
    """One task's pictures, ready to be counted."""

    def figures(self, weights: Weights) -> FiguresBySet:
        """The figures of R sets; weights (R, N) say how often each set has each picture."""


def tally(results: Results) -> Tally:
    """What counts a task's figures.

    Raises:
        ValueError: the results name no such task.
    """
    kinds: dict[str, type[MaskTally] | type[BoxTally] | type[StateTally]] = {
        "segmentation": MaskTally,
        "detection": BoxTally,
        "classification": StateTally,
    }
    if results.task not in kinds:
        raise ValueError(f"{results.task!r} is no task; expected {', '.join(kinds)}")
    return kinds[results.task](results)


class MaskTally:
    """Masks: pixels of all pictures are summed before a ratio is taken, boundary errors are means over pictures."""

    def __init__(self, results: Results) -> None:
        images = results.images
        self._pixels = np.array([image["pixels"] for image in images], np.float64).reshape(-1, 4)
        diagonals = np.array([np.hypot(image["width"], image["height"]) for image in images])
        errors = [[np.nan, np.nan] if (e := image["boundary"]) is None else [e["mean"], e["p95"]] for image in images]
        pixels = np.array(errors, np.float64).reshape(-1, 2)
        self._boundaries = np.concatenate([pixels, pixels / diagonals.reshape(-1, 1)], axis=1)  # (N, 4)

    def figures(self, weights: Weights) -> FiguresBySet:
        """IoU by class and their mean, Dice, precision and recall of the pan's pixels, boundary errors."""
        tp, fp, fn, tn = (weights @ self._pixels).T  # (R,) each
        iou = np.stack([_ratio(tn, tn + fp + fn), _ratio(tp, tp + fp + fn)])
        known = ~np.isnan(self._boundaries[:, 0])
        images = weights[:, known].sum(axis=1)
        errors = (weights[:, known] @ self._boundaries[known]).T
        return {
            "miou": _mean(iou),
            "iou.background": iou[0],
            "iou.pan": iou[1],
            "dice": _ratio(2 * tp, 2 * tp + fp + fn),
            "precision": _ratio(tp, tp + fp),
            "recall": _ratio(tp, tp + fn),
            **{name: _ratio(error, images) for name, error in zip(BOUNDARY_ERRORS, errors, strict=True)},
        }


class BoxTally:
    """Boxes: COCO's average precision, and precision, recall and F1 at IoU 0.5 from each class's threshold on."""

    def __init__(self, results: Results) -> None:
        self._names = results.classes
        self._thresholds = results.thresholds
        columns = BoxColumns(results)
        self._ranked = [columns.ranked(label) for label in range(len(self._names))]
        self._counts = [columns.counts(label, limit) for label, limit in enumerate(self._thresholds)]

    def figures(self, weights: Weights) -> FiguresBySet:
        """map50, map50_95, ap50 by class, mAP by size; precision, recall, f1 by class, macro_f1."""
        shape = (0, len(AREA_RANGES), len(IOU_THRESHOLDS), len(weights))
        every = [average_precision(ranked, weights) for ranked in self._ranked]
        ap = np.array(every).reshape(shape if not every else (len(every), *shape[1:]))  # (K, A, T, R)
        found = {"map50": _mean(ap[:, 0, 0]), "map50_95": _mean(_mean_over_thresholds(ap[:, 0]))}
        found |= {f"ap50.{name}": values for name, values in zip(self._names, ap[:, 0, 0], strict=True)}
        for area, name in enumerate(AREA_RANGES):
            if name != "all":
                found[f"map_{name}"] = _mean(_mean_over_thresholds(ap[:, area]))
        return found | self._at_thresholds(weights)

    def _at_thresholds(self, weights: Weights) -> FiguresBySet:
        undefined = np.full(len(weights), np.nan)
        found: FiguresBySet = {}
        scores = []
        for name, counts in zip(self._names, self._counts, strict=True):
            tp, fp, fn = (undefined,) * 3 if counts is None else (weights @ counts).T
            scores.append(_ratio(2 * tp, 2 * tp + fp + fn))
            found[f"precision.{name}"], found[f"recall.{name}"] = _ratio(tp, tp + fp), _ratio(tp, tp + fn)
            found[f"f1.{name}"] = scores[-1]
        return found | {"macro_f1": _mean(np.array(scores).reshape(-1, len(weights)))}


class StateTally:
    """States: counts of the confusion matrix, one state against the rest, and calibration."""

    def __init__(self, results: Results) -> None:
        self._names = results.classes
        classes = len(self._names)
        truth = np.array([image["truth"] for image in results.images], np.int64)
        shipped = np.array([image["probabilities"] for image in results.images], np.float64)
        shipped = shipped.reshape(len(truth), classes)
        cell = truth * classes + shipped.argmax(axis=1) if len(truth) else truth
        self._cells = _one_hot(cell, classes * classes)
        self._against = _against_rest(shipped, truth, results.thresholds)
        probabilities = {"": shipped}
        if results.temperature is not None:
            probabilities["_scaled"] = scale(shipped, results.temperature)
        self._calibration = {suffix: _calibration(values, truth) for suffix, values in probabilities.items()}
        order = results.order
        self._places = None if order is None else np.array([order.index(name) for name in self._names], np.float64)

    def figures(self, weights: Weights) -> FiguresBySet:
        """Accuracy, recall, precision and F1 by state and their means, errors in states, calibration."""
        classes = len(self._names)
        matrix = (weights @ self._cells).reshape(len(weights), classes, classes)
        right, true, said = np.diagonal(matrix, axis1=1, axis2=2).T, matrix.sum(axis=2).T, matrix.sum(axis=1).T
        recall, precision, f1 = _ratio(right, true), _ratio(right, said), _ratio(2 * right, true + said)  # (C, R)
        found = {
            "accuracy": _ratio(right.sum(axis=0), true.sum(axis=0)),
            "balanced_accuracy": _mean(recall),
            "macro_f1": _mean(f1),
        }
        for key, values in (("recall", recall), ("precision", precision), ("f1", f1)):
            found |= {f"{key}.{name}": value for name, value in zip(self._names, values, strict=True)}
        for name, counts in zip(self._names, self._against, strict=True):
            tp, fp, fn = (np.full(len(weights), np.nan),) * 3 if counts is None else (weights @ counts).T
            found[f"f1_at_threshold.{name}"] = _ratio(2 * tp, 2 * tp + fp + fn)
        return found | self._ordered(matrix) | self._calibrated(weights)

    def _ordered(self, matrix: FloatArray) -> FiguresBySet:
        """Mean absolute error in states, and Cohen's kappa with quadratic weights (Cohen 1968)."""
        if self._places is None:
            nothing = np.full(len(matrix), np.nan)
            return {"mae_states": nothing, "quadratic_kappa": nothing}
        apart = self._places[:, None] - self._places[None, :]
        total = matrix.sum(axis=(1, 2))
        expected = matrix.sum(axis=2)[:, :, None] * matrix.sum(axis=1)[:, None, :]
        observed = (matrix * apart**2).sum(axis=(1, 2))
        disagreement = _ratio(observed * total, (expected * apart**2).sum(axis=(1, 2)))
        return {
            "mae_states": _ratio((matrix * np.abs(apart)).sum(axis=(1, 2)), total),
            "quadratic_kappa": 1.0 - disagreement,
        }

    def _calibrated(self, weights: Weights) -> FiguresBySet:
        images = weights.sum(axis=1)
        found: FiguresBySet = {}
        for suffix in ("", "_scaled"):
            sums = self._calibration.get(suffix)
            nothing = np.full(len(weights), np.nan)
            loss, gap = (nothing, nothing) if sums is None else (weights @ sums[0], weights @ sums[1])
            found[f"nll{suffix}"] = nothing if sums is None else _ratio(loss, images)
            found[f"ece{suffix}"] = nothing if sums is None else _ratio(np.abs(gap).sum(axis=1), images)
        return found


def _calibration(probabilities: FloatArray, truth: npt.NDArray[np.int64]) -> tuple[FloatArray, FloatArray]:
    """Negative log-likelihood of each picture (N,), and confidence less correctness in its bin (N, BINS)."""
    if not len(truth):
        return np.zeros(0), np.zeros((0, BINS))
    confidence = probabilities.max(axis=1)
    gap = confidence - (probabilities.argmax(axis=1) == truth)
    return negative_log_likelihood(probabilities, truth), _one_hot(confidence_bins(confidence), BINS) * gap[:, None]


def _against_rest(
    probabilities: FloatArray, truth: npt.NDArray[np.int64], thresholds: list[float | None]
) -> list[FloatArray | None]:
    """Per state true positives, false positives and misses of each picture, (N, 3); None without a threshold."""
    counts: list[FloatArray | None] = []
    for label, limit in enumerate(thresholds):
        if limit is None:
            counts.append(None)
            continue
        said, true = probabilities[:, label] >= limit, truth == label
        counts.append(np.stack([said & true, said & ~true, ~said & true], axis=1).astype(np.float64))
    return counts


def scores(results: Results, *, resamples: int, seed: int) -> dict[str, Any]:
    """The metrics file of a task: every figure and its 95 % interval.

    Args:
        results: of one split.
        resamples: bootstrap sets; with 0 every interval is None.
        seed: of their draws.

    Returns:
        Figures by name, those of classes in a dictionary of their own, `ci95` flat by dotted name; None where
        undefined. `images` is None where the model has not the task.
    """
    own = tally(results)
    count = len(results.images)
    points = own.figures(np.ones((1, count), np.int32))
    groups = [image["group"] for image in results.images]
    spread = resampled(own.figures, groups, resamples=resamples, seed=seed) if results.trained else {}
    values = {name: None if np.isnan(value[0]) else round(float(value[0]), DIGITS) for name, value in points.items()}
    intervals = {name: None if values[name] is None else _interval(spread.get(name)) for name in values}
    return {"images": count if results.trained else None, **_nested(values), **_chosen(results), "ci95": intervals}


def _interval(values: FloatArray | None) -> Interval | None:
    interval = percentile_interval(values)
    return None if interval is None else {end: round(value, DIGITS) for end, value in interval.items()}


def _chosen(results: Results) -> dict[str, Any]:
    """What is counted or was chosen, and so has no interval."""
    if results.task == "segmentation":
        known = sum(image["boundary"] is not None for image in results.images)
        return {"boundary_images": known if results.trained else None}
    thresholds: dict[str, Any] = {"threshold": dict(zip(results.classes, results.thresholds, strict=True))}
    return thresholds | ({"temperature": results.temperature} if results.task == "classification" else {})


def _nested(values: Mapping[str, float | None]) -> dict[str, Any]:
    """`recall.burnt` as `{"recall": {"burnt"}}`."""
    nested: dict[str, Any] = {}
    for key, value in values.items():
        name, dot, label = key.partition(".")
        if dot:
            nested.setdefault(name, {})[label] = value
        else:
            nested[name] = value
    return nested


def _ratio(part: npt.NDArray[Any], whole: npt.NDArray[Any]) -> FloatArray:
    """Part of a whole, NaN where there is nothing."""
    return np.divide(part, whole, out=np.full(np.shape(part), np.nan), where=np.asarray(whole) > 0)


def _mean(values: FloatArray) -> FloatArray:
    """Mean over the first axis of what is defined, NaN where nothing is."""
    known = ~np.isnan(values)
    return _ratio(np.where(known, values, 0.0).sum(axis=0), known.sum(axis=0))


def _mean_over_thresholds(ap: FloatArray) -> FloatArray:
    """(K, T, R) → (K, R); a class is defined at all thresholds or at none."""
    return np.asarray(ap.mean(axis=1))


def _one_hot(index: npt.NDArray[np.int64], size: int) -> FloatArray:
    return (index[:, None] == np.arange(size)).astype(np.float64)
