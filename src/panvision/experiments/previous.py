"""An earlier commit's test metrics beside the present ones, as the report shows them."""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from panvision.core.tasks import TASKS
from panvision.evaluation.results import ResultsError
from panvision.experiments.git import git
from panvision.experiments.paired import compare_results
from panvision.experiments.revisions import WORKSPACE, RevisionError, results_of
from panvision.experiments.tables import table
from panvision.report.inputs import PreviousMetrics, Scores, read_metrics
from panvision.report.metrics import MetricTables, compared_keys, metric_tables

RESULT = "metrics/previous.json"

Metrics = dict[str, dict[str, float | None]]  # task → dotted key → value


class PreviousError(ValueError):
    """No earlier commit can be compared; the message says why and what to run."""


_git = partial(
    git, failure=PreviousError, remedy="name a revision that `git log` shows, and the project with --project"
)


def compare_with(project: Path, rev: str | None) -> tuple[dict[str, Any], str]:
    """Compare the present metrics with those of an earlier commit.

    Args:
        project: the project's folder.
        rev: a git revision; by default the last commit with other metrics.

    Returns:
        The content of metrics/previous.json, and the reason why it has no paired intervals, or "".

    Raises:
        PreviousError: no repository, no such revision, no metrics in it, or no commit with other metrics.
        ReportError: the present metrics are missing or damaged.
    """
    present = {task: read_metrics(project / _path(task), Scores).flat() for task in TASKS}
    commit, earlier = _earlier(project, rev, present)
    intervals, remark = _paired_intervals(project, commit)
    tasks = {
        task: {
            key: {
                "value": earlier[task][key],
                "present": present[task][key],
                "difference": intervals.get(task, {}).get(key),
            }
            for key in compared_keys(task, present[task])
            if key in earlier[task]
        }
        for task in TASKS
    }
    return {"commit": f"commit {commit[:7]}", "tasks": {task: own for task, own in tasks.items() if own}}, remark


def described(found: Mapping[str, Any], remark: str) -> str:
    """Return what `compare_with` found as a table."""
    previous = PreviousMetrics.model_validate(found)
    rows = [("test split", "metric", "previous", "present", "change", "")]
    for task, metrics in previous.tasks.items():
        tables = metric_tables(task, {key: each.present for key, each in metrics.items()}, {}, metrics)
        rows += [(task, *row) for row in _rows(tables)]
    lines = [*table((16, 34, 11, 11, 12), rows), "", f"previous: {previous.commit}", *([remark] if remark else [])]
    return "\n".join([*lines, f"written: {RESULT}; `dvc repro report` shows it in the report"])


def _rows(tables: MetricTables) -> Iterator[tuple[str, str, str, str, str]]:
    rows = [(entry.metric.name, entry) for entry in tables.whole]
    rows += [(f"{entry.metric.name}, {row.name}", entry) for row in tables.classes for entry in row.entries]
    for name, entry in rows:
        if entry.known:
            change = entry.shown(entry.change, sign=True)
            yield name, entry.shown(entry.earlier), entry.shown(entry.value), change, entry.verdict


def _paired_intervals(project: Path, commit: str) -> tuple[dict[str, dict[str, dict[str, float] | None]], str]:
    """Return 95 % intervals of the differences over the same images by task and key, and why there are none, or ""."""
    try:
        one, other = results_of(project, commit), results_of(project, WORKSPACE)
    except (RevisionError, ResultsError) as error:
        return {}, f"without paired intervals: {error}"
    intervals: dict[str, dict[str, dict[str, float] | None]] = {}
    for task in TASKS:
        found = compare_results(one[task], other[task])
        intervals[task] = {
            each.name: None if each.low is None or each.high is None else {"low": each.low, "high": each.high}
            for each in found.differences
        }
    return intervals, ""


def _earlier(project: Path, rev: str | None, present: Metrics) -> tuple[str, Metrics]:
    if rev is not None:
        commit = _git(project, "rev-parse", "--verify", "--end-of-options", f"{rev}^{{commit}}")
        return commit, _metrics(project, commit)
    for commit in _git(project, "log", "--format=%H", "--", *map(_path, present)).split():
        metrics = _metrics(project, commit)
        if metrics != present:
            return commit, metrics
    raise PreviousError("no commit has other test metrics than the present ones; name one: `panvision previous REV`")


def _path(task: str) -> str:
    return f"metrics/{task}.json"


def _metrics(project: Path, commit: str) -> Metrics:
    found: Metrics = {}
    for task in TASKS:
        text = _git(project, "show", f"{commit}:./{_path(task)}")
        try:
            found[task] = Scores.model_validate_json(text).flat()
        except ValidationError as error:
            reason = error.errors()[0]["msg"]
            raise PreviousError(f"{commit[:7]}:{_path(task)}: no metrics ({reason}); name another commit") from error
    return found
