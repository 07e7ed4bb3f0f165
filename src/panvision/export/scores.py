"""Metrics of a model file on the test split, by the evaluation of the checkpoint, and what INT8 loses."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from panvision.core.tasks import TASKS
from panvision.evaluation.evaluate import HeldOut, evaluate
from panvision.inference.predictor import Predictor

# Task and metric: what an exported file is accepted by.
LIMITED = [(task, metric) for task, spec in TASKS.items() for metric in spec.metrics if metric.limits_int8]

Scores = dict[str, float | None]


def limited_scores(predictor: Predictor, held_out: HeldOut) -> Scores:
    """Return the metrics of LIMITED, fractions; None where undefined and of tasks that the model does not have.

    Raises:
        EvaluationError, PackedError, ImageError: as `evaluate`.
    """
    # These metrics need nothing that is chosen on the validation split.
    found = evaluate(predictor, held_out, choices={})
    return {metric.key: found.metrics[task][metric.key] for task, metric in LIMITED}


@dataclass(frozen=True)
class Verdict:
    """Loss of INT8 against the float file, on the same images.

    Attributes:
        drop: metric → loss, a fraction, negative if INT8 is better; None where undefined.
        accepted: True if no metric loses more than the limit or is undefined in INT8 alone; None if none is defined.
    """

    drop: Scores
    accepted: bool | None

    def to_json(self) -> dict[str, Any]:
        """Return the metrics."""
        return {"accepted": self.accepted, "drop": self.drop}


def judge_int8(exported: Mapping[str, float | None], int8: Mapping[str, float | None], max_drop: float) -> Verdict:
    """Compare two files metric by metric.

    Args:
        exported: metrics of the float file.
        int8: metrics of the INT8 file.
        max_drop: largest loss of a metric.
    """
    smaller = {metric.key for _, metric in LIMITED if metric.smaller}
    drop: Scores = {}
    for name, before in exported.items():
        after = int8[name]
        if before is None or after is None:
            drop[name] = None
        else:
            # Rounded: 0.95 - 0.94 is a little more than 0.01 in floats.
            drop[name] = round(after - before if name in smaller else before - after, 9)
    defined = [value for value in drop.values() if value is not None]
    lost = any(before is not None and int8[name] is None for name, before in exported.items())
    return Verdict(drop, (not lost and max(defined) <= max_drop) if defined or lost else None)
