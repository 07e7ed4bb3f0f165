"""Evaluation of class labels: the confusion matrix, one class against the rest, order and calibration."""

from collections.abc import Iterator, Mapping, Sequence
from math import inf
from typing import Any

import numpy as np
import numpy.typing as npt

from panvision.evaluation.evaluation import Evaluation, Table
from panvision.evaluation.intervals import Range
from panvision.evaluation.results import Results
from panvision.evaluation.thresholds import best_threshold
from panvision.inference.explanation import ClassTarget, Target
from panvision.inference.settings import DecisionSettings
from panvision.scoring.calibration import BINS, confidence_bins, negative_log_likelihood, scale
from panvision.scoring.classification import confusion_cells, matrix_metrics
from panvision.scoring.scorer import FloatArray, MetricsBySet, Tally, Weights, one_hot, ratio

IntArray = npt.NDArray[np.int64]

UNCALIBRATED = "_uncalibrated"  # suffix of metrics of the probabilities without the temperature


def record(part: Mapping[str, Any], truth: Mapping[str, Any], classes: Sequence[str]) -> dict[str, Any]:
    """Record an image.

    Returns:
        `truth`: the true class index; `predicted`: the shipped one; `probabilities`: of every class, as shipped;
        `answered`, if the model does not answer every image.
    """
    answered = {} if part["distance"] is None else {"answered": part["answered"]}
    return answered | {
        "truth": int(truth["class_idx"]),
        "predicted": part["class_idx"],
        "probabilities": [part["probabilities"][name] for name in classes],
    }


def tally(results: Results) -> Tally:
    """Metrics of the confusion matrix, F1 from thresholds on, errors in an order of the classes, calibration."""
    names = results.classes
    truth, shipped = _columns(results)
    cells = confusion_cells([*zip(truth, predicted(results.images), strict=True)], len(names))
    against = [
        None if limit is None else _against_rest(shipped[:, label] >= limit, truth == label)
        for label, limit in enumerate(results.thresholds)
    ]
    calibration = {suffix: _calibration(values, truth) for suffix, values in _probabilities(results, shipped).items()}
    # Undefined without `decision.costs.confusions`.
    costs = np.array((results.costs or {}).get("confusions") or np.nan, np.float64)
    answered = np.array([image.get("answered", np.nan) for image in results.images], np.float64)
    ranks = None if results.order is None else np.array([results.order.index(name) for name in names], np.float64)

    def metrics(weights: Weights) -> MetricsBySet:
        matrix = (weights @ cells).reshape(len(weights), len(names), len(names))
        found = matrix_metrics(matrix, names)
        found["answered"] = ratio(weights @ answered, weights.sum(axis=1))
        for name, counts in zip(names, against, strict=True):
            tp, fp, fn = (np.full(len(weights), np.nan),) * 3 if counts is None else (weights @ counts).T
            found[f"f1_at_threshold.{name}"] = ratio(2 * tp, 2 * tp + fp + fn)
        cost = (matrix * costs).sum(axis=(1, 2))
        found["expected_cost"] = ratio(cost, matrix.sum(axis=(1, 2)))
        return found | _ordered(matrix, ranks) | _calibrated(weights, calibration)

    return metrics


def predicted(images: Sequence[Mapping[str, Any]]) -> list[int]:
    """Return the shipped class index of each image; results of earlier versions have the most probable one."""
    return [image.get("predicted", int(np.argmax(image["probabilities"]))) for image in images]


def target(part: Mapping[str, Any], record: Mapping[str, Any], scale: Sequence[float]) -> tuple[Target, dict[str, Any]]:
    """Explain the predicted class label."""
    return ClassTarget(part["class_idx"]), {}


def choose(results: Results, decision: DecisionSettings) -> dict[str, Any]:
    """Choose for each class the probability with the best F1."""
    truth, shipped = _columns(results)
    thresholds = [
        best_threshold(shipped[:, label], truth == label, int((truth == label).sum()))
        for label in range(len(results.classes))
    ]
    return {"thresholds": thresholds}


def fixed(results: Results) -> dict[str, Any]:
    """Name the thresholds by class, and the temperature."""
    thresholds = dict(zip(results.classes, results.thresholds, strict=True))
    return {"threshold": thresholds, "temperature": results.temperature}


def plots(results: Results) -> dict[str, Table]:
    """Pairs of true and predicted class with their places in the order; accuracy by confidence, a row per used bin."""
    truth, shipped = _columns(results)
    said = predicted(results.images)
    names = results.classes
    places = {name: place for place, name in enumerate(results.ordered_classes)}
    kinds = {"": "as shipped", UNCALIBRATED: "uncalibrated"}
    bins = [row for key, own in _probabilities(results, shipped).items() for row in _bins(kinds[key], own, truth)]
    return {
        "confusion": (
            ("actual", "predicted", "actual_place", "predicted_place"),
            [(names[a], names[b], places[names[a]], places[names[b]]) for a, b in zip(truth, said, strict=True)],
        ),
        "reliability": (("probabilities", "confidence", "accuracy", "images"), bins),
    }


def ranges(results: Results) -> dict[str, Range]:
    """Ranges of the errors in states, of kappa and of the log-likelihoods."""
    return {
        "mae_states": (0.0, len(results.classes) - 1.0),
        "quadratic_kappa": (-1.0, 1.0),
        "expected_cost": (0.0, inf),
        "nll": (0.0, inf),
        f"nll{UNCALIBRATED}": (0.0, inf),
    }


def _probabilities(results: Results, shipped: FloatArray) -> dict[str, FloatArray]:
    """Probabilities (N, C) as shipped and, if the model has a temperature, without it, by suffix of the metrics."""
    if results.temperature is None:
        return {"": shipped}
    return {"": shipped, UNCALIBRATED: scale(shipped, 1.0 / results.temperature)}


def _columns(results: Results) -> tuple[IntArray, FloatArray]:
    """True class indexes (N,) and probabilities (N, C)."""
    truth = np.array([image["truth"] for image in results.images], np.int64)
    shipped = np.array([image["probabilities"] for image in results.images], np.float64)
    return truth, shipped.reshape(len(truth), len(results.classes))


def _against_rest(said: npt.NDArray[np.bool_], true: npt.NDArray[np.bool_]) -> FloatArray:
    """True positives, false positives and misses of each image, (N, 3)."""
    return np.stack([said & true, said & ~true, ~said & true], axis=1).astype(np.float64)


def _ordered(matrix: FloatArray, ranks: FloatArray | None) -> MetricsBySet:
    """Mean absolute error in steps of the order, and Cohen's kappa with quadratic weights (Cohen 1968)."""
    if ranks is None:
        undefined = np.full(len(matrix), np.nan)
        return {"mae_states": undefined, "quadratic_kappa": undefined}
    apart = ranks[:, None] - ranks[None, :]
    total = matrix.sum(axis=(1, 2))
    expected = matrix.sum(axis=2)[:, :, None] * matrix.sum(axis=1)[:, None, :]
    observed = (matrix * apart**2).sum(axis=(1, 2))
    disagreement = ratio(observed * total, (expected * apart**2).sum(axis=(1, 2)))
    return {
        "mae_states": ratio((matrix * np.abs(apart)).sum(axis=(1, 2)), total),
        "quadratic_kappa": 1.0 - disagreement,
    }


def _calibration(probabilities: FloatArray, truth: IntArray) -> tuple[FloatArray, FloatArray]:
    """Negative log-likelihood of each image (N,), and confidence less correctness in its bin (N, BINS)."""
    if not len(truth):
        return np.zeros(0), np.zeros((0, BINS))
    confidence = probabilities.max(axis=1)
    gap = confidence - (probabilities.argmax(axis=1) == truth)
    return negative_log_likelihood(probabilities, truth), one_hot(confidence_bins(confidence), BINS) * gap[:, None]


def _calibrated(weights: Weights, calibration: Mapping[str, tuple[FloatArray, FloatArray]]) -> MetricsBySet:
    """Log-likelihood and calibration error of the probabilities as shipped and without the temperature."""
    images = weights.sum(axis=1)
    found: MetricsBySet = {}
    for suffix in ("", UNCALIBRATED):
        found[f"nll{suffix}"] = found[f"ece{suffix}"] = np.full(len(weights), np.nan)
        if suffix in calibration:
            loss, gap = calibration[suffix]
            found[f"nll{suffix}"] = ratio(weights @ loss, images)
            found[f"ece{suffix}"] = ratio(np.abs(weights @ gap).sum(axis=1), images)
    return found


def _bins(kind: str, probabilities: FloatArray, truth: IntArray) -> Iterator[tuple[str, float, float, int]]:
    """Mean confidence, accuracy and number of images of each bin with an image."""
    if not len(truth):
        return
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == truth
    bins = confidence_bins(confidence)
    for number in np.unique(bins):
        own = bins == number
        yield kind, float(confidence[own].mean()), float(right[own].mean()), int(own.sum())


SMALLER = frozenset(("expected_cost", "mae_states", "nll", "ece", f"nll{UNCALIBRATED}", f"ece{UNCALIBRATED}"))
BIASED = frozenset(("ece", f"ece{UNCALIBRATED}"))
EVALUATION = Evaluation(
    record, tally, choose, fixed, plots, smaller=SMALLER, ranges=ranges, biased=BIASED, target=target
)
