"""Metrics of a task from its per-image results, with their 95 % intervals.

The contribution of an image is computed once; the metrics of a set are then sums with the weights of the images. So
the metrics of a split (every weight 1), of a split without some images and of two models all come from here.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from panvision.evaluation.intervals import UNIT, Interval, Range, Reason, half_biases, jackknife, value_interval
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


def ranges(results: Results) -> Mapping[str, Range]:
    """Return the lowest and the highest possible value of each metric that is not from 0 to 1."""
    return EVALUATIONS[results.task].ranges(results)


def scores(results: Results) -> dict[str, Any]:
    """Return the content of a task's metrics file: every metric of one split and its 95 % interval.

    Returns:
        Metrics by name, those of classes in a nested dictionary; None where undefined. `ci95` has the intervals flat by
        dotted name, and `ci95_null` the reason for each that is None. `images` is None if the model does not have the
        task.
    """
    evaluation, limits = EVALUATIONS[results.task], ranges(results)
    metrics, groups = tally(results), [image["group"] for image in results.images]
    spreads = jackknife(metrics, groups)
    biases = half_biases(metrics, groups) if evaluation.interpolated else {}
    values = {name: None if np.isnan(spread.value) else round(spread.value, DIGITS) for name, spread in spreads.items()}
    intervals: dict[str, Interval | None] = {}
    reasons: dict[str, Reason] = {}
    for name, spread in spreads.items():
        bias = biases[name] if name.partition(".")[0] in evaluation.interpolated else 0.0
        found = value_interval(spread._replace(bias=bias), limits.get(name, UNIT))
        if name in evaluation.biased and spread.obstacle is None:
            found = "biased"
        if isinstance(found, str):
            intervals[name], reasons[name] = None, found
        else:
            intervals[name] = {end: round(value, DIGITS) for end, value in found.items()}
    return {
        "images": len(results.images) if results.trained else None,
        **_nested(values),
        **evaluation.fixed(results),
        "ci95": intervals,
        "ci95_null": reasons,
    }


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
