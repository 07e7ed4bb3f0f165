"""Metrics of a model file on the test split, by the evaluation of the checkpoint, and what INT8 or bfloat16 loses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, NamedTuple

from panvision.core.tasks import TASKS
from panvision.evaluation.evaluate import HeldOut, evaluate
from panvision.inference.predictor import Predictor

# Task and metric: what an exported file is accepted by.
LIMITED = [(task, metric) for task, spec in TASKS.items() for metric in spec.metrics if metric.limits_int8]

Scores = dict[str, float | None]


class Measured(NamedTuple):
    """Results of a model file on the test split.

    Attributes:
        scores: the metrics of LIMITED, fractions; None where undefined and of tasks that the model does not have.
        states: for each image of classification, the `predicted` class index and the `probabilities` of all classes.
    """

    scores: Scores
    states: Sequence[Mapping[str, Any]] = ()


def measure(predictor: Predictor, held_out: HeldOut) -> Measured:
    """Score a model file.

    Raises:
        EvaluationError, PackedError, ImageError: as `evaluate`.
    """
    # These metrics need nothing that is chosen on the validation split.
    found = evaluate(predictor, held_out, choices={})
    scores = {metric.key: found.metrics[task][metric.key] for task, metric in LIMITED}
    return Measured(scores, found.results["classification"].images)


@dataclass(frozen=True)
class Verdict:
    """Loss of INT8 or bfloat16 against float32, on the same images.

    Attributes:
        drop: metric → loss, a fraction, negative if it is better; None where undefined. That of accuracy is
            `expected_loss`.
        accepted: True if no metric loses more than the limit or is undefined in that precision alone; None if none is
            defined.
    """

    drop: Scores
    accepted: bool | None

    def to_json(self) -> dict[str, Any]:
        """Return the metrics."""
        return {"accepted": self.accepted, "drop": self.drop}


def judge(exported: Measured, other: Measured, max_drop: float) -> Verdict:
    """Compare a model in float32 with another precision or runtime, metric by metric.

    Args:
        exported: results in float32.
        other: results of the other one.
        max_drop: largest loss of a metric.
    """
    smaller = {metric.key for _, metric in LIMITED if metric.smaller}
    drop: Scores = {}
    for name, before in exported.scores.items():
        after = other.scores[name]
        if before is None or after is None:
            drop[name] = None
        else:
            # Rounded: 0.95 - 0.94 is a little more than 0.01 in floats.
            drop[name] = round(after - before if name in smaller else before - after, 9)
    if drop.get("accuracy") is not None:
        drop["accuracy"] = round(expected_loss(exported.states, other.states), 9)
    defined = [value for value in drop.values() if value is not None]
    lost = any(before is not None and other.scores[name] is None for name, before in exported.scores.items())
    return Verdict(drop, (not lost and max(defined) <= max_drop) if defined or lost else None)


def expected_loss(exported: Sequence[Mapping[str, Any]], others: Sequence[Mapping[str, Any]]) -> float:
    """Return the accuracy that another precision is expected to lose if the probabilities of the float file are true.

    A changed class label costs the difference between the probabilities of both labels. Compared with the true labels,
    a tie that falls the other way would cost 1 / N instead, which is more than a point of fewer than 100 images.

    Args:
        exported: `Measured.states` in float32, N images.
        others: those of the other precision.
    """
    pairs = [
        (each["probabilities"], each["predicted"], other["predicted"])
        for each, other in zip(exported, others, strict=True)
    ]
    return fmean(probabilities[before] - probabilities[after] for probabilities, before, after in pairs)
