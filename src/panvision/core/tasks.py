"""The one list of tasks, and the metrics by which a model is known."""

from typing import Literal

Task = Literal["segmentation", "detection", "classification"]
# Everywhere in this order, whatever a file's.
TASKS: tuple[Task, ...] = ("segmentation", "detection", "classification")

# Headline metrics: the task, which names its metrics file; key in that file; the metric's name.
HEADLINE = (
    ("segmentation", "miou", "mIoU"),
    ("segmentation", "dice", "Dice"),
    ("detection", "map50", "mAP@0.5"),
    ("detection", "map50_95", "mAP@[.5:.95]"),
    ("classification", "accuracy", "accuracy"),
    ("classification", "balanced_accuracy", "balanced accuracy"),
)
