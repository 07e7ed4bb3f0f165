"""Mean absolute error of the covered fraction."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from panvision.scoring.scorer import MetricsBySet, Scorer, Tally, Weights, ratio


def compare(part: Mapping[str, Any], truth: Mapping[str, Any]) -> float:
    """Return the absolute error of one image."""
    return abs(part["fraction"] - float((truth["mask"] != 0).mean()))


def tally(errors: Sequence[float], classes: Sequence[str]) -> Tally:
    """Metrics of N images."""
    values = np.array(errors, np.float64)

    def metrics(weights: Weights) -> MetricsBySet:
        return {"mae": ratio(weights @ values, weights.sum(axis=1))}

    return metrics


SCORER = Scorer(compare, tally)
