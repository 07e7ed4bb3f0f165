"""The decision whether a model may replace another one, from the per-image results of both on the same images.

A metric of the new model is `better` if the 95 % interval of the paired difference is above 0. Otherwise it is `not
worse` if the interval's lower end is not below -max_drop (a non-inferiority test), `worse` if the interval is below 0,
and `undecided` if it contains 0 and -max_drop, or if there is no interval. The headline metrics decide: all must be
better or not worse, which needs no correction for their number. Classes and slices are listed, but do not decide,
because of many metrics some are better or worse by chance. Where a file answers some images only, the fraction that is
`answered` decides as well; a file without limits answers all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from panvision.core.tasks import TASKS, Dataset, Task, datasets_of
from panvision.dataset.packed import read_index, read_splits
from panvision.evaluation.evaluate import Evaluated
from panvision.evaluation.intervals import UNIT
from panvision.evaluation.metrics import SMALLER_IS_BETTER, ranges
from panvision.evaluation.results import Results
from panvision.evaluation.slices import Facts, part, slices
from panvision.experiments.paired import ROUNDING, Comparison, Difference, compare_results
from panvision.inference.backend import ModelInfo
from panvision.inference.origin import is_among, unpack_images
from panvision.report.table import SECTIONS

Decision = Literal["better", "not worse", "worse", "undecided"]

_NAMED = 3  # files in a message
# Decides like a headline metric.
ANSWERED = "answered"


class PromotionError(ValueError):
    """Two models cannot be compared on these images; the message says why and the remedy."""


@dataclass(frozen=True)
class Judged:
    """One metric's difference, new minus current, and what it decides."""

    difference: Difference
    decision: Decision


class Slice(NamedTuple):
    """Some of a task's images, `brightness dark` for example, and the headline metrics on them."""

    name: str
    images: int
    metrics: list[Judged]


class Change(NamedTuple):
    """An image that became right or wrong.

    Attributes:
        file: `dataset/file`.
        right: True if the new model is right.
        current, new: both answers as text.
    """

    file: str
    right: bool
    current: str
    new: str


@dataclass(frozen=True)
class TaskDecision:
    """The comparison of one task.

    Attributes:
        comparison: `one` is the current model, `other` the new one.
        metrics: every metric, also of classes.
        slices: with images of both kinds only: a slice of all images is left out.
        changes: the images that became right, then those that became wrong.
    """

    comparison: Comparison
    metrics: list[Judged]
    slices: list[Slice]
    changes: list[Change]

    @property
    def headlines(self) -> list[Decision]:
        """The decisions on the task's headline metrics, `undecided` for an undefined one, and on what is answered."""
        found = {each.difference.name: each.decision for each in self.metrics}
        decisions = [found.get(metric.key, "undecided") for metric in TASKS[self.comparison.task].metrics]
        return [*decisions, found[ANSWERED]] if ANSWERED in found else decisions


@dataclass(frozen=True)
class Promotion:
    """The decision on a model.

    Attributes:
        max_drop: largest loss of a metric that counts as not worse, a fraction.
        tasks: by task of the models.
    """

    max_drop: float
    tasks: dict[Task, TaskDecision]

    @property
    def decision(self) -> Decision:
        """`worse` or `undecided` if any headline metric is, `better` if any is and none is worse or undecided."""
        found = {decision for task in self.tasks.values() for decision in task.headlines}
        order: tuple[Decision, ...] = ("worse", "undecided", "better")
        return next((decision for decision in order if decision in found), "not worse")

    @property
    def passed(self) -> bool:
        """True if the new model may replace the current one."""
        return self.decision in ("better", "not worse")

    def to_json(self) -> dict[str, Any]:
        """Return the decisions as plain values."""
        return {
            "decision": self.decision,
            "passed": self.passed,
            "max_drop": self.max_drop,
            "tasks": {task: _task_json(found) for task, found in self.tasks.items()},
        }


def check_models(new: ModelInfo, current: ModelInfo) -> None:
    """Compare tasks and classes of both models.

    Raises:
        PromotionError: they differ.
    """
    names = {"tasks": "tasks", "det_class_names": "detection classes", "cls_class_names": "classification classes"}
    for field, name in names.items():
        ours, theirs = getattr(new, field), getattr(current, field)
        if ours != theirs:
            raise PromotionError(
                f"the models have other {name}: {_listed(ours)}; {_listed(theirs)}; compare models that were trained "
                "for the same ones"
            )


def images_to_score(prepared: str | Path, splits: str | Path, tasks: Sequence[Task]) -> dict[str, str]:
    """Return the SHA-256 of the test images' files by `dataset/file`, of the datasets of some tasks.

    Raises:
        PackedError: `prepared` or `splits` cannot be used.
    """
    found = {}
    for dataset in datasets_of(tasks):
        index = read_index(Path(prepared) / dataset, dataset, ("file", "sha256"))
        files, hashes = index["file"].tolist(), index["sha256"].tolist()
        found.update({f"{dataset}/{files[row]}": hashes[row] for row in read_splits(splits, dataset, files)["test"]})
    return found


def seen_images(info: ModelInfo, tested: Mapping[str, str]) -> list[str] | None:
    """Return the images to score that were training or validation images of a model, sorted.

    Args:
        info: description of the model.
        tested: from `images_to_score`.

    Returns:
        `dataset/file` of each; None if the model does not name its training images.
    """
    if info.training_images is None:
        return None
    known = unpack_images(info.training_images)
    return sorted(file for file, sha256 in tested.items() if is_among(sha256, known))


def check_unseen(name: str, info: ModelInfo, tested: Mapping[str, str]) -> bool:
    """Check that no image to score was a training or validation image of a model.

    Args:
        name: of the model file, for the message.
        info: description of the model.
        tested: from `images_to_score`.

    Returns:
        False if the model does not name its training images.

    Raises:
        PromotionError: some images were.
    """
    seen = seen_images(info, tested)
    if seen:
        more = f" and {len(seen) - _NAMED} more" if len(seen) > _NAMED else ""
        raise PromotionError(
            f"{name}: {len(seen)} of the {len(tested)} images to score are its training or validation images: "
            f"{', '.join(seen[:_NAMED])}{more}; score images that neither model has seen: another folder with "
            "--images all, or the split of the training with --config"
        )
    return seen is not None


def decide(
    current: Evaluated, new: Evaluated, facts: Mapping[Dataset, Mapping[str, Facts]], max_drop: float
) -> Promotion:
    """Compare two models on the same images.

    Args:
        current, new: their results.
        facts: of every image.
        max_drop: largest loss of a metric that counts as not worse, a fraction.
    """
    tasks = {}
    for task, results in new.results.items():
        if not results.trained:
            continue
        pair = _both_answered(current.results[task], results)
        comparison = compare_results(*pair)
        tasks[task] = TaskDecision(
            comparison,
            _judged(comparison, results, max_drop),
            [
                Slice(name, len(rows), _judged(_part(pair, rows), results, max_drop, headlines=True))
                for name, rows in slices(results, facts[TASKS[task].dataset])
            ],
            _changes(pair),
        )
    return Promotion(max_drop, tasks)


def _both_answered(*pair: Results) -> tuple[Results, Results]:
    """Return both with what they answer, if either file has limits: the other one answers every image."""
    if not any(ANSWERED in image for results in pair for image in results.images):
        return pair[0], pair[1]
    current, new = (
        replace(results, images=[{ANSWERED: True, **image} for image in results.images]) for results in pair
    )
    return current, new


def judge(difference: Difference, max_drop: float | None) -> Decision:
    """Decide on one metric.

    Args:
        difference: new minus current.
        max_drop: largest loss that counts as not worse; None for a metric that is not a fraction.
    """
    if difference.low is None or difference.high is None:
        return "undecided"
    if difference.verdict == "better":
        return "better"
    worst, best = difference.low, difference.high
    if difference.name in SMALLER_IS_BETTER:
        worst, best = -best, -worst
    if max_drop is not None and worst >= -max_drop:
        return "not worse"
    return "worse" if best < -ROUNDING else "undecided"


def _judged(comparison: Comparison, results: Results, max_drop: float, *, headlines: bool = False) -> list[Judged]:
    keys = {metric.key for metric in TASKS[comparison.task].metrics}
    limits = ranges(results)
    return [
        Judged(each, judge(each, max_drop if limits.get(each.name, UNIT) == UNIT else None))
        for each in comparison.differences
        if each.name in keys or not headlines
    ]


def _part(pair: tuple[Results, Results], rows: Sequence[int]) -> Comparison:
    """Compare some images, the same rows of both."""
    one, other = (part(results, rows) for results in pair)
    return compare_results(one, other)


def _changes(pair: tuple[Results, Results]) -> list[Change]:
    """Return the images that one model alone has right, by what it reports with its thresholds."""
    task = pair[0].task
    verdict = SECTIONS[task].verdict
    found = []
    for images in zip(*(results.images for results in pair), strict=True):
        before, after = (verdict(*each) for each in zip(images, pair, strict=True))
        if before.right != after.right:
            dataset = TASKS[task].dataset
            # The class is the whole answer to a class label; of boxes, the count says more than their names.
            shown = (each.predicted if dataset == "classification" else each.short for each in (before, after))
            found.append(Change(f"{dataset}/{images[0]['file']}", after.right, *shown))
    return sorted(found, key=lambda change: (not change.right, change.file))


def _task_json(found: TaskDecision) -> dict[str, Any]:
    comparison = found.comparison
    return {
        "images": comparison.images,
        "groups": comparison.groups,
        "metrics": _metrics_json(found.metrics),
        "slices": {each.name: {"images": each.images, "metrics": _metrics_json(each.metrics)} for each in found.slices},
        "became_right": [_change_json(each) for each in found.changes if each.right],
        "became_wrong": [_change_json(each) for each in found.changes if not each.right],
    }


def _metrics_json(metrics: Sequence[Judged]) -> dict[str, Any]:
    return {
        each.difference.name: {
            "current": each.difference.one,
            "new": each.difference.other,
            "difference": each.difference.difference,
            "low": each.difference.low,
            "high": each.difference.high,
            "reason": each.difference.reason,
            "decision": each.decision,
        }
        for each in metrics
    }


def _change_json(change: Change) -> dict[str, str]:
    return {"file": change.file, "current": change.current, "new": change.new}


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"
