"""Accuracy, recall per class and the confusion matrix."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt


def confusion_matrix(truth: npt.ArrayLike, predicted: npt.ArrayLike, num_classes: int) -> npt.NDArray[np.int64]:
    """How often class i (row) was called class j (column).

    Args:
        truth: (N,) class indexes.
        predicted: (N,) class indexes.
        num_classes: C.

    Returns:
        (C, C) int64.

    Raises:
        ValueError: different lengths, or an index outside 0 to C - 1.
    """
    actual = np.asarray(truth, dtype=np.int64).reshape(-1)
    found = np.asarray(predicted, dtype=np.int64).reshape(-1)
    if actual.shape != found.shape:
        raise ValueError(f"{actual.size} labels but {found.size} predictions; give one prediction per label")
    both = np.concatenate([actual, found])
    if both.size and not (both.min() >= 0 and both.max() < num_classes):
        raise ValueError(f"class indexes must lie in 0 to {num_classes - 1}, found {both.min()} to {both.max()}")
    counts = np.bincount(actual * num_classes + found, minlength=num_classes * num_classes)
    return counts.reshape(num_classes, num_classes).astype(np.int64)


def classification_scores(truth: npt.ArrayLike, predicted: npt.ArrayLike, class_names: Sequence[str]) -> dict[str, Any]:
    """Scores of a set of pictures with one class each.

    Args:
        truth: (N,) class indexes.
        predicted: (N,) class indexes.
        class_names: name of each class index.

    Returns:
        `{"accuracy", "balanced_accuracy", "recall": {name}}`, fractions. A class without a picture has recall
        None; balanced accuracy is the mean recall of the other classes.
    """
    matrix = confusion_matrix(truth, predicted, len(class_names))
    support = matrix.sum(axis=1)
    recall = {
        name: float(matrix[index, index] / support[index]) if support[index] else None
        for index, name in enumerate(class_names)
    }
    defined = [value for value in recall.values() if value is not None]
    total = int(support.sum())
    return {
        "accuracy": float(np.trace(matrix) / total) if total else None,
        "balanced_accuracy": sum(defined) / len(defined) if defined else None,
        "recall": recall,
    }
