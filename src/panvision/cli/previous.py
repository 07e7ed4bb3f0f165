"""`panvision previous`: an earlier commit's test figures, kept where the report shows them beside the present ones."""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from panvision.cli.compare import CompareError, results_of
from panvision.cli.exits import Exit
from panvision.cli.flags import add_output, add_project, project_of
from panvision.cli.manual import Manual

if TYPE_CHECKING:
    from panvision.report.metrics import MetricTables

RESULT = "metrics/previous.json"
WORKSPACE = "workspace"
# Of the bootstrap behind the paired intervals.
RESAMPLES, SEED = 1000, 0

Figures = dict[str, dict[str, float | None]]


class PreviousError(ValueError):
    """There is nothing to compare with; the message says why and what to run."""


MANUAL = Manual(
    usage="[REV]",
    about="Keeps an earlier commit's test figures in metrics/previous.json, where the report shows them beside the "
    "present ones, and whether the difference is more than noise where the results of both are at hand.",
    examples={
        "the last commit with other figures than the present ones": "panvision previous",
        "another one": "panvision previous HEAD~3",
    },
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `panvision previous`."""
    arguments = parser.add_argument_group("arguments")
    arguments.add_argument(
        "rev",
        nargs="?",
        metavar="REV",
        help="a git revision (default: the last commit whose test figures are others than the present ones)",
    )
    add_project(parser)
    add_output(parser, "commit and tasks, as in metrics/previous.json")


def run(args: argparse.Namespace) -> int:
    """Compare, print and write; returns 0."""
    from panvision.core.files import write_json

    project = project_of(args)
    present = _present(project)
    commit, earlier = _earlier(project, args.rev, present)
    intervals, remark = paired_intervals(project, commit)
    found = beside(f"commit {commit[:7]}", earlier, present, intervals)
    write_json(project / RESULT, found)
    if args.json and remark:
        print(remark, file=sys.stderr)
    print(json.dumps(found, indent=2, ensure_ascii=False) if args.json else described(found, present, remark))
    return Exit.DONE


def beside(
    commit: str, earlier: Figures, present: Figures, intervals: Mapping[str, Mapping[str, dict[str, float] | None]]
) -> dict[str, Any]:
    """What `PreviousMetrics` reads: the figures that both have.

    Args:
        commit: the earlier one's name.
        earlier, present: figures by task and dotted key.
        intervals: of present less earlier, likewise; some or all may be absent.
    """
    from panvision.core.tasks import TASKS
    from panvision.report.metrics import compared_keys

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
    return {"commit": commit, "tasks": {task: own for task, own in tasks.items() if own}}


def paired_intervals(project: Path, commit: str) -> tuple[dict[str, dict[str, dict[str, float] | None]], str]:
    """95 % intervals of the differences over the same pictures, by task and key, and why there are none, or ""."""
    from panvision.core.tasks import TASKS
    from panvision.evaluation.results import ResultsError
    from panvision.experiments.paired import compare_results

    try:
        one, other = results_of(project, commit), results_of(project, WORKSPACE)
    except (CompareError, ResultsError) as error:
        return {}, f"without paired intervals: {error}"
    intervals: dict[str, dict[str, dict[str, float] | None]] = {}
    for task in TASKS:
        found = compare_results(one[task], other[task], resamples=RESAMPLES, seed=SEED)
        intervals[task] = {
            each.name: None if each.low is None or each.high is None else {"low": each.low, "high": each.high}
            for each in found.differences
        }
    return intervals, ""


def described(found: Mapping[str, Any], present: Figures, remark: str) -> str:
    """The comparison as a table with what belongs to it."""
    from panvision.core.tasks import TASKS
    from panvision.report.inputs import PreviousMetrics
    from panvision.report.metrics import metric_tables

    previous = PreviousMetrics.model_validate(found)
    lines = [f"{'test split':<16}{'figure':<34}{'previous':<11}{'present':<11}change"]
    for task in TASKS:
        tables = metric_tables(task, present[task], {}, previous.tasks.get(task, {}))
        lines += [f"{task if not number else '':<16}{line}" for number, line in enumerate(_lines(tables))]
    lines += ["", f"previous: {previous.commit}", *([remark] if remark else [])]
    lines.append(f"written: {RESULT}; `dvc repro report` shows it in the report")
    return "\n".join(lines)


def _lines(tables: "MetricTables") -> Iterator[str]:
    rows = [(entry.metric.name, entry) for entry in tables.whole]
    rows += [(f"{entry.metric.name}, {row.name}", entry) for row in tables.classes for entry in row.entries]
    for name, entry in rows:
        if entry.known:
            change = entry.shown(entry.change, sign=True)
            cells = f"{entry.shown(entry.earlier):<11}{entry.shown(entry.value):<11}{change:<12}{entry.verdict}"
            yield f"{name:<34}{cells}".rstrip()


def _present(project: Path) -> Figures:
    from panvision.core.tasks import TASKS
    from panvision.report.inputs import Scores, read_metrics

    return {task: read_metrics(project / _metrics(task), Scores).flat() for task in TASKS}


def _earlier(project: Path, rev: str | None, present: Figures) -> tuple[str, Figures]:
    """A commit and its figures.

    Raises:
        PreviousError: no repository, no such revision, no metrics in it, or no commit with others than the present.
    """
    if rev is not None:
        commit = _git(project, "rev-parse", "--verify", "--end-of-options", f"{rev}^{{commit}}").strip()
        return commit, _figures(project, commit)
    for commit in _git(project, "log", "--format=%H", "--", *(_metrics(task) for task in present)).split():
        figures = _figures(project, commit)
        if figures != present:
            return commit, figures
    raise PreviousError("no commit has other test figures than the present ones; name one: `panvision previous REV`")


def _metrics(task: str) -> str:
    return f"metrics/{task}.json"


def _figures(project: Path, commit: str) -> Figures:
    from pydantic import ValidationError

    from panvision.core.tasks import TASKS
    from panvision.report.inputs import Scores

    found: Figures = {}
    for task in TASKS:
        path = _metrics(task)
        text = _git(project, "show", f"{commit}:./{path}")
        try:
            found[task] = Scores.model_validate_json(text).flat()
        except ValidationError as error:
            raise PreviousError(
                f"{commit[:7]}:{path}: no metrics ({error.errors()[0]['msg']}); name another commit"
            ) from error
    return found


def _git(project: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(project), *arguments], capture_output=True, text=True, encoding="utf-8", check=False
        )
    except FileNotFoundError as error:
        raise PreviousError("git is not installed; earlier figures are read from it") from error
    if done.returncode:
        reason = " ".join(done.stderr.split())
        raise PreviousError(
            f"`git {' '.join(arguments)}` failed: {reason}; name a revision that `git log` shows, and with --project "
            "the project"
        )
    return done.stdout
