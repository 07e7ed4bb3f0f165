"""The one table of scorers."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from panvision.core.tasks import Task
from panvision.scoring import classification, detection, segmentation
from panvision.scoring.scorer import Scorer

SCORERS: dict[Task, Scorer] = {
    "segmentation": segmentation.SCORER,
    "detection": detection.SCORER,
    "classification": classification.SCORER,
}


def score(task: Task, compared: Sequence[Any], classes: Sequence[str]) -> dict[str, float | None]:
    """Metrics of a set of images.

    Args:
        task: which.
        compared: `SCORERS[task].compare` of each image.
        classes: class names of the task's dataset.

    Returns:
        Metric → value, None where undefined; a dot separates a metric from a class.
    """
    found = SCORERS[task].tally(compared, classes)(np.ones((1, len(compared)), np.int32))
    return {name: None if np.isnan(value[0]) else float(value[0]) for name, value in found.items()}
