"""The interface of a task's evaluation."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from panvision.evaluation.intervals import Range
from panvision.evaluation.results import Results
from panvision.inference.explanation import Target
from panvision.inference.settings import DecisionSettings
from panvision.scoring.scorer import Tally

# Header and rows of a CSV file.
Table = tuple[Sequence[str], Sequence[Sequence[object]]]


def _nothing(results: Results) -> dict[str, Any]:
    return {}


def _no_target(part: Any, record: Mapping[str, Any], scale: Sequence[float]) -> None:
    return None


class Evaluation(NamedTuple):
    """A row of `EVALUATIONS`.

    Attributes:
        record: (the task's part of a result, truth as in `scoring.scorer.Scorer`, class names) → fields that the
            results file keeps of the image.
        joined: (the task's part of a result with boxes down to `evaluate.min_score`, that of the reported result) → the
            part to record.
        tally: results → a function from weights to metrics.
        choose: (results of the validation split, criterion of the thresholds) → fields of `Results` that are chosen
            there. None if there is nothing to choose.
        fixed: results → entries of the metrics file that are counted or chosen and so have no interval.
        plots: results → tables that plots are drawn from, by file name without suffix.
        stored: the task's part of the reported result → the JSON that predictions.json keeps of it.
        smaller: metrics of which smaller values are better.
        ranges: results → the lowest and the highest possible value of each metric that is not from 0 to 1.
        interpolated: metrics, without the class after a dot, that few images raise because precision is interpolated;
            their intervals are corrected for that.
        biased: metrics without an interval, because few images bias them by more than their spread.
        target: (the task's part of the reported result, record of the image, pixels of the model's square per pixel of
            the image, across and down) → the score that an explanation of the image explains, and fields that name it;
            None if there is nothing to explain.
    """

    record: Callable[[Any, Any, Sequence[str]], dict[str, Any]]
    tally: Callable[[Results], Tally]
    choose: Callable[[Results, DecisionSettings], dict[str, Any]] | None = None
    fixed: Callable[[Results], dict[str, Any]] = _nothing
    plots: Callable[[Results], dict[str, Table]] = _nothing
    stored: Callable[[Any], Any] = lambda part: part
    smaller: frozenset[str] = frozenset()
    ranges: Callable[[Results], Mapping[str, Range]] = _nothing
    interpolated: frozenset[str] = frozenset()
    biased: frozenset[str] = frozenset()
    joined: Callable[[Any, Any], Any] = lambda part, reported: part
    target: Callable[[Any, Mapping[str, Any], Sequence[float]], tuple[Target, dict[str, Any]] | None] = _no_target
