"""Metrics of a task from its per-image results, with bootstrap intervals.

The contribution of an image is computed once; the metrics of a set are then sums with the weights of the images. So
the metrics of a split (every weight 1), of its bootstrap sets and of two models on the same sets all come from here.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from panvision.evaluation.bootstrap import Interval, percentile_interval, resampled
from panvision.evaluation.results import Results
from panvision.evaluation.table import EVALUATIONS
from panvision.scoring.scorer import Tally

# Decimals in the metrics files: sums of floats differ beyond them with the number of threads.
DIGITS = 12
SMALLER_IS_BETTER = frozenset[str]().union(*(row.smaller for row in EVALUATIONS.values()))


def tally(results: Results) -> Tally:
    """Return the function that computes a task's metrics from weights (R, N).

    Raises:
        ValueError: the results are of an unknown task.
    """
    if results.task not in EVALUATIONS:
        raise ValueError(f"{results.task!r} is not a task; expected {', '.join(EVALUATIONS)}")
    return EVALUATIONS[results.task].tally(results)


def scores(results: Results, *, resamples: int, seed: int) -> dict[str, Any]:
    """Return the content of a task's metrics file: every metric and its 95 % interval.

    Args:
        results: of one split.
        resamples: bootstrap sets; with 0 every interval is None.
        seed: of the bootstrap.

    Returns:
        Metrics by name, those of classes in a nested dictionary, `ci95` flat by dotted name; None where undefined.
        `images` is None if the model does not have the task.
    """
    metrics = tally(results)
    count = len(results.images)
    groups = [image["group"] for image in results.images]
    spread = resampled(metrics, groups, resamples=resamples, seed=seed) if results.trained else {}
    values = {
        name: None if np.isnan(value[0]) else round(float(value[0]), DIGITS)
        for name, value in metrics(np.ones((1, count), np.int32)).items()
    }
    intervals = {name: None if values[name] is None else _interval(spread.get(name)) for name in values}
    unresampled = EVALUATIONS[results.task].unresampled(results)
    return {"images": count if results.trained else None, **_nested(values), **unresampled, "ci95": intervals}


def _interval(values: Any) -> Interval | None:
    interval = percentile_interval(values)
    return None if interval is None else {end: round(value, DIGITS) for end, value in interval.items()}


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
