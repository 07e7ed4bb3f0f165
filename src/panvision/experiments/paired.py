"""Two models' results on the same images: the difference of each metric, and whether it is more than noise.

Both are scored without the same groups of images, so that what they have in common (hard images, rare classes) cancels
out. Mistakes of both cost what the second one's costs say: other prices alone make no model better.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from panvision.evaluation.intervals import UNIT, Interval, Range, Reason, Spread, difference_interval, jackknife
from panvision.evaluation.metrics import SMALLER_IS_BETTER, ranges, tally
from panvision.evaluation.results import Results
from panvision.scoring.scorer import MetricsBySet, Weights

Verdict = Literal["better", "worse", "within noise", "undefined"]

# Far below the digits shown, and above the differences between versions of the libraries.
ROUNDING = 1e-6


@dataclass(frozen=True)
class Difference:
    """One metric of both, on the images that both have.

    Attributes:
        name: as in the metrics file, with a class after a dot.
        one, other: the metric; None is undefined.
        difference: other minus one.
        low, high: its 95 % interval, None without one.
        reason: why there is no interval, else None.
        verdict: of the other; `within noise` where the interval contains 0, or is closer to it than ROUNDING.
    """

    name: str
    one: float | None
    other: float | None
    difference: float | None
    low: float | None
    high: float | None
    reason: Reason | None
    verdict: Verdict


@dataclass(frozen=True)
class Comparison:
    """Two results of one task.

    Attributes:
        task: its name.
        images: number of images that both have: the same file with the same content.
        groups: number of their groups.
        only_one, only_other: images that the other one lacks, or has with another content.
        relabelled: common images whose true labels differ, as far as `true_label` has them.
        differences: by metric; empty where there is nothing to compare.
        remark: why there are none, or "".
        trained: True if both models have the task.
    """

    task: str
    images: int
    groups: int
    only_one: int
    only_other: int
    relabelled: int
    differences: list[Difference]
    remark: str = ""
    trained: bool = True

    @property
    def same_images(self) -> bool:
        """True if both were scored on the same images with the same labels."""
        return not (self.only_one or self.only_other or self.relabelled)


def compare_results(one: Results, other: Results) -> Comparison:
    """Compare two results of one task.

    Args:
        one: the base.
        other: compared with the base; its groups and its costs of mistakes count.
    """
    first, second = _common(one, other)
    groups = [image["group"] for image in second.images]
    result = Comparison(
        task=one.task,
        images=len(second.images),
        groups=len(set(groups)),
        only_one=len(one.images) - len(first.images),
        only_other=len(other.images) - len(second.images),
        relabelled=sum(true_label(a) != true_label(b) for a, b in zip(first.images, second.images, strict=True)),
        differences=[],
        trained=one.trained and other.trained,
    )
    remark = _obstacle(one, other) or ("" if groups else "no image in common")
    if remark:
        return replace(result, remark=remark)
    tallies = tally(first), tally(second)

    def differences(weights: Weights) -> MetricsBySet:
        before, after = (each(weights) for each in tallies)
        return {name: after[name] - before[name] for name in after}

    points = [each(np.ones((1, len(groups)), np.int32)) for each in tallies]
    same = first.images == second.images
    spread = jackknife(differences, groups)
    found = [
        _difference(
            name,
            _value(points[0][name]),
            _value(points[1][name]),
            _interval(spread[name], ranges(second).get(name, UNIT), same=same),
        )
        for name in _in_order(points[1], other)
    ]
    return replace(result, differences=[each for each in found if not each.one is each.other is None])


def to_json(comparison: Comparison) -> dict[str, Any]:
    """Return a comparison as plain values."""
    counts = ("images", "groups", "only_one", "only_other", "relabelled", "remark")
    figures = {
        each.name: {key: value for key, value in vars(each).items() if key != "name"} for each in comparison.differences
    }
    return {**{key: getattr(comparison, key) for key in counts}, "figures": figures}


def _common(one: Results, other: Results) -> tuple[Results, Results]:
    """Return both with their common images, in one order, and with the costs of the second."""

    def by_content(results: Results) -> dict[tuple[str, str], Mapping[str, Any]]:
        return {(image["file"], image["sha256"]): image for image in results.images}

    first, second = by_content(one), by_content(other)
    keys = sorted(first.keys() & second.keys())
    known = replace(one, images=[first[key] for key in keys], costs=other.costs)
    return known, replace(other, images=[second[key] for key in keys])


def _in_order(names: Iterable[str], results: Results) -> list[str]:
    """Return names of metrics with those of one metric's classes together, in the order of the classes."""
    metrics = list(dict.fromkeys(name.partition(".")[0] for name in names))
    ranks = {label: rank for rank, label in enumerate(results.ordered_classes)}

    def place(name: str) -> tuple[int, int]:
        metric, _, label = name.partition(".")
        return metrics.index(metric), ranks.get(label, -1)

    return sorted(names, key=place)


def _obstacle(one: Results, other: Results) -> str:
    """Return why two results cannot be compared at all, or ""."""
    if not (one.trained and other.trained):
        both = not one.trained and not other.trained
        return "trained in neither" if both else f"trained in {'the second' if other.trained else 'the first'} only"
    if one.classes != other.classes:
        return f"other classes: {', '.join(one.classes)}; {', '.join(other.classes)}"
    return ""


def true_label(image: Mapping[str, Any]) -> Any:
    """Return the true label in a record of an image; of a mask the number of its pixels, since no more is stored."""
    if "pixels" in image:
        tp, _, fn, _ = image["pixels"]
        return tp + fn
    return image["truth"]


def _interval(spread: Spread, limits: Range, *, same: bool) -> Interval | Reason:
    """Return the interval of a difference; without width where both models gave the same results."""
    if same and spread.value == 0.0 and not spread.variance:
        return {"low": 0.0, "high": 0.0}
    return difference_interval(spread, limits)


def _difference(name: str, one: float | None, other: float | None, interval: Interval | Reason) -> Difference:
    gap = None if one is None or other is None else other - one
    if isinstance(interval, str):
        return Difference(name, one, other, gap, None, None, interval, "undefined")
    low, high = interval["low"], interval["high"]
    verdict: Verdict = "within noise"
    if low > ROUNDING or high < -ROUNDING:
        verdict = "better" if (low > 0.0) != (name in SMALLER_IS_BETTER) else "worse"
    return Difference(name, one, other, gap, low, high, None, verdict)


def _value(values: np.ndarray) -> float | None:
    return None if np.isnan(values[0]) else float(values[0])
