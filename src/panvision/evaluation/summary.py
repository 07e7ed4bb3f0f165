"""metrics/summary.json: the headline metrics alone, few enough for the tables of DVC."""

from collections.abc import Mapping
from typing import Any

from panvision.core.tasks import TASKS, Task, headline_metrics

FILE = "summary.json"


def summary_names() -> dict[str, tuple[Task, str]]:
    """Return the task and the key of each headline metric by its name in summary.json.

    The name is the key. Where an earlier task has the same one, the short name of the loss is before it: `seg2_miou`.
    """
    names: dict[str, tuple[Task, str]] = {}
    for task, key, _ in headline_metrics():
        names[f"{TASKS[task].loss}_{key}" if key in names else key] = (task, key)
    return names


def summary(metrics: Mapping[Task, Mapping[str, Any]]) -> dict[str, float | None]:
    """Return the content of summary.json.

    Args:
        metrics: contents of the metrics files by task.
    """
    return {name: metrics[task].get(key) for name, (task, key) in summary_names().items()}
