"""Evaluation of the covered fraction."""

from collections.abc import Mapping, Sequence
from typing import Any

from panvision.evaluation.evaluation import Evaluation
from panvision.evaluation.results import Results
from panvision.scoring import coverage
from panvision.scoring.scorer import Tally


def record(part: Mapping[str, Any], truth: Mapping[str, Any], classes: Sequence[str]) -> dict[str, Any]:
    """Record an image: `truth` and `fraction`."""
    return {"truth": float((truth["mask"] != 0).mean()), "fraction": part["fraction"]}


def tally(results: Results) -> Tally:
    """Mean absolute error."""
    return coverage.tally([abs(image["fraction"] - image["truth"]) for image in results.images], results.classes)


EVALUATION = Evaluation(record, tally, smaller=frozenset(("mae",)))
