"""The runs of the pipeline, DVC experiments and commits, as one table with the best first."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from panvision.core.tasks import TASKS, Task
from panvision.experiments.baselines import tasks_of
from panvision.experiments.runs import Run, read_runs
from panvision.experiments.tables import cut, number, table

REMARK = "score: mean of {first}. `panvision compare A B` says whether a difference is more than noise."
WIDTH = 120  # characters of a line
_NAME = 22
# The metrics that decide: those that INT8 must keep.
COLUMNS = [(task, metric) for task, spec in TASKS.items() for metric in spec.metrics if metric.limits_int8]


@dataclass(frozen=True)
class Place:
    """A run in the table.

    Attributes:
        run: the run.
        score: mean of the first metric of each of its tasks; None if one is undefined.
        changed: params in which it differs from the newest commit, as `key=value`.
    """

    run: Run
    score: float | None
    changed: list[str]

    def value(self, task: Task, key: str) -> float | None:
        """Return a metric; None is undefined."""
        return self.run.metrics.get(task, {}).get(key)


def leaderboard(text: str) -> list[Place]:
    """Return the runs with metrics in what `dvc exp show --json` printed, the best first.

    Raises:
        RunsError: the text is something else.
    """
    runs = [run for run in read_runs(text) if any(run.metrics.values())]
    newest = next((run for run in runs if run.name.startswith("commit ")), None)
    places = [Place(run, _score(run), _changed(run, newest)) for run in runs]
    return sorted(places, key=lambda place: -1.0 if place.score is None else place.score, reverse=True)


def shown(places: Sequence[Place]) -> str:
    """Return a table of eight columns, at most 120 characters wide."""
    header = ("run", "date", "score", *(metric.name for _, metric in COLUMNS), "changed params")
    rows = [
        (
            cut(place.run.name, _NAME),
            place.run.time[:10],
            number(place.score, missing="-"),
            *(number(place.value(task, metric.key), missing="-") for task, metric in COLUMNS),
            " ".join(place.changed),
        )
        for place in places
    ]
    widths = [max(map(len, column)) + 2 for column in zip(header, *rows, strict=True)][:-1]
    lines = [cut(line, WIDTH) for line in table(widths, [header, *rows])]
    first = ", ".join(spec.metrics[0].name for spec in TASKS.values())
    return "\n".join([*lines, "", REMARK.format(first=first)])


def to_json(places: Sequence[Place]) -> list[dict[str, Any]]:
    """Return the same as plain values."""
    return [
        {
            "name": place.run.name,
            "commit": place.run.commit,
            "time": place.run.time,
            "score": place.score,
            "metrics": place.run.metrics,
            "changed": place.changed,
        }
        for place in places
    ]


def _score(run: Run) -> float | None:
    values = [run.metrics.get(task, {}).get(TASKS[task].metrics[0].key) for task in tasks_of(run)]
    known = [value for value in values if value is not None]
    return fmean(known) if known and len(known) == len(values) else None


def _changed(run: Run, newest: Run | None) -> list[str]:
    if newest is None:
        return []
    return [f"{key}={value}" for key, value in run.params.items() if newest.params.get(key) != value]
