"""The one list of tasks: what all rooms must agree on about each head of the model.

A task is one head with its loss, its decoding and its metrics. A dataset is one labelled collection of images. Several
tasks may learn from one dataset.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

Dataset = Literal["segmentation", "detection", "classification"]
DATASETS: tuple[Dataset, ...] = ("segmentation", "detection", "classification")

Task = str


class Metric(NamedTuple):
    """A headline metric of a task.

    Attributes:
        key: its key in the task's metrics file.
        name: its name in tables.
        smaller: True if smaller values are better.
        limits_int8: True if the INT8 model is not accepted when it loses more of it than `export.max_drop`.
    """

    key: str
    name: str
    smaller: bool = False
    limits_int8: bool = False


@dataclass(frozen=True)
class TaskSpec:
    """The facts of a task that all rooms share.

    Attributes:
        dataset: the dataset whose images and labels it learns from.
        loss: the short name of its loss, in the curves and as the key of its weight in the `loss` section.
        outputs: names of the head's raw outputs in a model file, in their order.
        optional: names of raw outputs that only some model files have, behind `outputs`.
        metrics: its headline metrics. The first one is also measured on the validation split after every epoch.
    """

    dataset: Dataset
    loss: str
    outputs: tuple[str, ...]
    metrics: tuple[Metric, ...]
    optional: tuple[str, ...] = ()


# Every list of tasks has this order.
TASKS: dict[Task, TaskSpec] = {
    "segmentation": TaskSpec(
        dataset="segmentation",
        loss="seg",
        outputs=("mask_logits",),
        metrics=(Metric("miou", "mIoU", limits_int8=True), Metric("dice", "Dice")),
    ),
    "detection": TaskSpec(
        dataset="detection",
        loss="det",
        outputs=("class_logits", "ltrb", "centerness"),
        metrics=(Metric("map50", "mAP@0.5", limits_int8=True), Metric("map50_95", "mAP@[.5:.95]", limits_int8=True)),
    ),
    "classification": TaskSpec(
        dataset="classification",
        loss="cls",
        outputs=("state_logits",),
        metrics=(Metric("accuracy", "accuracy", limits_int8=True), Metric("balanced_accuracy", "balanced accuracy")),
        optional=("cls_distance", "cls_features"),
    ),
}


# Classes of a task in a model file.
MOST_CLASSES = 1000


def datasets_of(tasks: Iterable[Task]) -> tuple[Dataset, ...]:
    """Return the datasets that some tasks learn from, in the order of DATASETS."""
    needed = {TASKS[task].dataset for task in tasks}
    return tuple(dataset for dataset in DATASETS if dataset in needed)


def headline_metrics() -> list[tuple[Task, str, str]]:
    """Return (task, key, name) of every headline metric, in the order of the tasks."""
    return [(task, metric.key, metric.name) for task, spec in TASKS.items() for metric in spec.metrics]


def output_names(tasks: Iterable[Task], *, optional: bool) -> tuple[str, ...]:
    """Return the names of the raw outputs of a model file with these tasks, in order; `optional`: with those, too."""
    specs = [TASKS[task] for task in tasks]
    return tuple(name for spec in specs for name in (*spec.outputs, *(spec.optional if optional else ())))
