"""Accuracy, recall, precision and F1 of one class label per image."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from panvision.scoring.calibration import fit_temperature
from panvision.scoring.scorer import FloatArray, MetricsBySet, Scorer, Tally, Weights, mean, one_hot, ratio


class Labels(NamedTuple):
    """The true and the predicted class index of an image, and the probability of each class."""

    truth: int
    predicted: int
    probabilities: tuple[float, ...]


def compare(part: Mapping[str, Any], truth: Mapping[str, Any]) -> Labels:
    """Return the labels of one result."""
    return Labels(int(truth["class_idx"]), int(part["class_idx"]), tuple(part["probabilities"].values()))


def confusion_cells(labels: Sequence[tuple[int, int]], num_classes: int) -> FloatArray:
    """One-hot cell of the confusion matrix of each image, (N, C * C); rows of the matrix are true classes.

    Raises:
        ValueError: an index outside 0 to C - 1.
    """
    pairs: npt.NDArray[np.int64] = np.array(labels, np.int64).reshape(-1, 2)
    if pairs.size and not (pairs.min() >= 0 and pairs.max() < num_classes):
        raise ValueError(
            f"class index: must be 0 to {num_classes - 1}, found {pairs.min()} to {pairs.max()}; "
            "train on these data first"
        )
    return one_hot(pairs[:, 0] * num_classes + pairs[:, 1], num_classes**2)


def matrix_metrics(matrix: FloatArray, classes: Sequence[str]) -> MetricsBySet:
    """Metrics of R confusion matrices (R, C, C)."""
    right, true, said = np.diagonal(matrix, axis1=1, axis2=2).T, matrix.sum(axis=2).T, matrix.sum(axis=1).T
    recall, precision, f1 = ratio(right, true), ratio(right, said), ratio(2 * right, true + said)  # (C, R)
    found = {
        "accuracy": ratio(right.sum(axis=0), true.sum(axis=0)),
        "balanced_accuracy": mean(recall),
        "macro_f1": mean(f1),
    }
    for key, values in (("recall", recall), ("precision", precision), ("f1", f1)):
        found |= {f"{key}.{name}": value for name, value in zip(classes, values, strict=True)}
    return found


def tally(labels: Sequence[Labels], classes: Sequence[str]) -> Tally:
    """Metrics of N images from their true and predicted class indexes."""
    cells = confusion_cells([(each.truth, each.predicted) for each in labels], len(classes))

    def metrics(weights: Weights) -> MetricsBySet:
        return matrix_metrics((weights @ cells).reshape(len(weights), len(classes), len(classes)), classes)

    return metrics


def calibrate(labels: Sequence[Labels]) -> dict[str, float]:
    """Fit the temperature to probabilities of temperature 1."""
    found = fit_temperature([each.probabilities for each in labels], [each.truth for each in labels])
    return {} if found is None else {"temperature": found}


SCORER = Scorer(compare, tally, calibrate)
