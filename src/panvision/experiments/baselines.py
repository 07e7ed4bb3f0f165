"""The shared model beside single-task models, from the experiments that DVC keeps."""

import importlib.util
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from panvision.core.tasks import TASKS, headline_metrics
from panvision.experiments.revisions import WORKSPACE
from panvision.experiments.runs import Run, read_runs
from panvision.experiments.summary import sharing_lines
from panvision.report.inputs import BaselineMetrics
from panvision.report.sharing import read_sharing

RESULT = "metrics/baselines.json"
# Written by `panvision baselines` and `panvision previous`, and without influence on any metric.
WRITTEN = (RESULT, "metrics/previous.json")


class BaselinesError(ValueError):
    """Baselines that cannot be compared; the message says why and what to run."""


def show_experiments(project: Path, *which: str) -> str:
    """Return what `dvc exp show --json` prints of some commits, their experiments and the workspace.

    Args:
        project: the repository's folder.
        which: options that choose the commits, for example `--rev HEAD`.

    Raises:
        BaselinesError: DVC fails.
        ModuleNotFoundError: it is not installed.
    """
    if importlib.util.find_spec("dvc") is None:
        raise ModuleNotFoundError("dvc is not installed", name="dvc")
    command = [sys.executable, "-m", "dvc", "exp", "show", "--json", *which]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BaselinesError(
            f"`dvc exp show {' '.join(which)}` failed: {' '.join(done.stderr.split())}; name the project's folder with "
            "--project, and commits that it has"
        )
    return done.stdout


def compare(text: str, shared: str | None = None) -> dict[str, Any]:
    """Set the shared model's metrics beside those of the single-task models.

    Of several single-task runs of one task the one that differs in the fewest other settings counts, the newest if
    they tie.

    Args:
        text: what `dvc exp show --json` prints.
        shared: name of the shared model's run; by default the one with the most baselines that differ in `tasks` alone.

    Returns:
        The content of metrics/baselines.json, which `BaselineMetrics` reads.

    Raises:
        BaselinesError: no run of several tasks, none of that name, or no single-task run of one of its tasks.
        RunsError: the text is something else.
    """
    runs = _measured(read_runs(text))
    chosen = _shared(runs, shared)
    tasks = {}
    for task in tasks_of(chosen):
        alone = _alone(runs, chosen, task)
        if alone is not None and task in headlines(chosen):
            one, other = headlines(chosen)[task], headlines(alone)[task]
            tasks[task] = {
                "experiment": alone.name,
                "also_differs": differences(chosen, alone),
                "figures": {each.key: _figure(one.get(each.key), other.get(each.key)) for each in TASKS[task].metrics},
            }
    if not tasks:
        raise BaselinesError(
            f"no single-task experiment beside {chosen.name}; {_command(tasks_of(chosen)[0])} makes one, and so for "
            "the other tasks (experiments belong to the commit they started from: name another with --rev)"
        )
    return {"shared": chosen.name, "tasks": tasks}


def tasks_of(run: Run) -> tuple[str, ...]:
    """Return the tasks that a run trained; older commits have no such param and trained all."""
    return tuple(run.params.get("tasks", TASKS))


def headlines(run: Run) -> dict[str, dict[str, float]]:
    """Return the headline metrics of a run's tasks by task and key; undefined ones are absent."""
    found: dict[str, dict[str, float]] = {}
    for task, key, _ in headline_metrics():
        value = run.metrics.get(task, {}).get(key)
        if task in tasks_of(run) and value is not None:
            found.setdefault(task, {})[key] = value
    return found


def differences(one: Run, other: Run) -> list[str]:
    """Return the params and sources, `tasks` excepted, in which two runs differ."""
    first, second = ({**run.params, **run.sources} for run in (one, other))
    keys = (first.keys() | second.keys()) - {"tasks", *WRITTEN}
    return sorted(key for key in keys if first.get(key) != second.get(key))


def _measured(runs: Sequence[Run]) -> list[Run]:
    """Return the runs that have metrics: commits, then experiments, the newest first, then the workspace."""
    ranked = sorted(runs, key=lambda run: (run.time, run.name), reverse=True)
    ranked.sort(key=lambda run: 1 if run.experiment else 2 if run.name == WORKSPACE else 0)
    return [run for run in ranked if headlines(run)]


def _shared(runs: Sequence[Run], name: str | None) -> Run:
    several = [run for run in runs if len(tasks_of(run)) > 1]
    if name is not None:
        several = [run for run in several if name in (run.name, run.name.split()[0])]
        if not several:
            known = ", ".join(run.name for run in runs) or "none"
            raise BaselinesError(f"{name}: no run of several tasks has this name; runs with metrics: {known}")
    if not several:
        raise BaselinesError("no run of a shared model has metrics; run `dvc repro` with all three tasks and commit")

    def exact(run: Run) -> tuple[int, int]:
        alone = [_alone(runs, run, task) for task in tasks_of(run)]
        return sum(one is not None and not differences(run, one) for one in alone), len(tasks_of(run))

    return max(several, key=exact)  # the first of those that tie


def _alone(runs: Sequence[Run], shared: Run, task: str) -> Run | None:
    """Return the run of this task alone that differs least from the shared one."""
    singles = [run for run in runs if tasks_of(run) == (task,) and task in headlines(run)]
    return min(singles, key=lambda run: len(differences(shared, run)), default=None)


def _figure(shared: float | None, alone: float | None) -> dict[str, float | None]:
    # Rounded, so that the difference of two decimals has no tail of digits.
    difference = None if shared is None or alone is None else round(shared - alone, 6)
    return {"shared": shared, "alone": alone, "difference": difference}


def described(found: Mapping[str, Any]) -> str:
    """Return what `compare` found as a table."""
    baselines = BaselineMetrics.model_validate(found)
    # Compared with itself, so that no remark says that these metrics belong to another run.
    current = {task: {key: value.shared for key, value in own.figures.items()} for task, own in baselines.tasks.items()}
    sharing = read_sharing(baselines, current)
    lines = [] if sharing is None else sharing_lines(sharing)
    alone = ", ".join(f"{task} {own.experiment}" for task, own in baselines.tasks.items())
    lines += ["", f"shared: {baselines.shared}; alone: {alone}"]
    missing = [task for task in TASKS if task not in baselines.tasks]
    if missing:
        lines.append(f"no baseline yet: {', '.join(map(_command, missing))}")
    return "\n".join([*lines, f"written: {RESULT}; `dvc repro report` shows it in the report"])


def _command(task: str) -> str:
    return f"`dvc exp run -S 'tasks=[{task}]'`"
