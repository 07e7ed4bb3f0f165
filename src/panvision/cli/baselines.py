"""`panvision baselines`: the shared model beside single-task ones, from the experiments that DVC keeps."""

import argparse
import importlib.util
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from panvision.cli.exits import Exit
from panvision.cli.flags import add_output, add_project, project_of
from panvision.cli.manual import Manual
from panvision.core.tasks import headline_metrics
from panvision.experiments.finished import finished

RESULT = "metrics/baselines.json"
WORKSPACE = "workspace"  # DVC's own name for it


class BaselinesError(ValueError):
    """There is nothing to compare; the message says why and what to run."""


@dataclass(frozen=True)
class Run:
    """One run of the pipeline that DVC knows.

    Attributes:
        name: the experiment's name, `workspace`, or `commit` with the first seven digits.
        tasks: what its model was trained for.
        settings: every other param by its key path, and the hash of every file or folder that no stage makes.
        figures: test figures of its tasks by metrics file and key; undefined ones are absent.
    """

    name: str
    tasks: tuple[str, ...]
    settings: dict[str, Any]
    figures: dict[str, dict[str, float]]


MANUAL = Manual(
    usage="",
    about="Sets the shared model beside the single-task experiments of its commit: each test figure shared, alone, and "
    "the difference. Writes metrics/baselines.json, which the report and `panvision summary` show.",
    examples={
        "the experiments of the last commit": "panvision baselines",
        "those of another commit": "panvision baselines --rev HEAD~1",
        "with an experiment as the shared model, for programs": "panvision baselines --shared lunar-mask --json",
    },
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `panvision baselines`."""
    add_project(parser, positional=True)
    runs = parser.add_argument_group("experiments")
    runs.add_argument(
        "--rev",
        default="HEAD",
        metavar="REV",
        help="the git revision whose experiments are compared (default: %(default)s)",
    )
    runs.add_argument(
        "--shared",
        metavar="NAME",
        help="run of the shared model: an experiment, `workspace`, or `commit` for the commit's own "
        "(default: the one with the most baselines that differ from it in tasks alone)",
    )
    add_output(parser, "shared and tasks, as in metrics/baselines.json")


def run(args: argparse.Namespace) -> int:
    """Compare, print and write; returns 0."""
    from panvision.core.files import write_json

    project = project_of(args)
    runs = read_runs(show_experiments(project, args.rev))
    found = compare(runs, args.shared)
    write_json(project / RESULT, found)
    print(json.dumps(found, indent=2, ensure_ascii=False) if args.json else described(found))
    return Exit.DONE


def show_experiments(project: Path, rev: str) -> str:
    """What `dvc exp show --json` says of a commit, its experiments and the workspace.

    Raises:
        BaselinesError: DVC is not installed or fails.
    """
    if importlib.util.find_spec("dvc") is None:
        raise ModuleNotFoundError("dvc is not installed", name="dvc")
    command = [sys.executable, "-m", "dvc", "exp", "show", "--json", "--rev", rev]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = " ".join(done.stderr.split())
        raise BaselinesError(
            f"`dvc exp show --rev {rev}` failed: {reason}; --project names the project's folder, --rev a revision of it"
        )
    return done.stdout


def read_runs(text: str) -> list[Run]:
    """The runs that have figures: the commit's own, its experiments, the newest first, and the workspace.

    Args:
        text: what `dvc exp show --json` prints.

    Raises:
        BaselinesError: it is not what DVC 3 prints.
    """
    commits: list[Run] = []
    experiments: list[tuple[str, str, Run]] = []
    workspace: list[Run] = []
    try:
        for state in json.loads(text):
            if state["rev"] == WORKSPACE:
                workspace += _runs(state["data"], WORKSPACE)
            else:
                commits += _runs(state["data"], f"commit {state['rev'][:7]}")
            for name, data in finished(state):
                experiments += [(data["timestamp"] or "", name, each) for each in _runs(data, name)]
    except (json.JSONDecodeError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise BaselinesError(f"`dvc exp show --json` printed something unknown ({error!r}); DVC 3 is needed") from error
    return [*commits, *(each for _, _, each in sorted(experiments, key=lambda one: one[:2], reverse=True)), *workspace]


def _runs(data: Mapping[str, Any] | None, name: str) -> list[Run]:
    """The run of one state that DVC lists; none if it has no figures."""
    from panvision.core.tasks import TASKS
    from panvision.report.inputs import leaves

    if not data:
        return []
    params = {
        ".".join(path): value for file in data["params"].values() for path, value in leaves(file.get("data") or {})
    }
    tasks = params.pop("tasks", TASKS)
    sources = {path: dep["hash"] for path, dep in data["deps"].items() if path not in data["outs"]}
    # Of no influence on any figure, and changed by this very command and by `panvision previous`.
    for shown in (RESULT, "metrics/previous.json"):
        sources.pop(shown, None)
    figures: dict[str, dict[str, float]] = {}
    for task, key, _ in headline_metrics():
        value = (data["metrics"].get(f"metrics/{task}.json", {}).get("data") or {}).get(key)
        if task in tasks and value is not None:
            figures.setdefault(task, {})[key] = value
    return [Run(name, tuple(tasks), {**params, **sources}, figures)] if figures else []


def compare(runs: Sequence[Run], shared: str | None = None) -> dict[str, Any]:
    """The shared model's figures beside those of the single-task models, as metrics/baselines.json has them.

    Of several single-task runs of one task the one that differs in the fewest other settings counts, the newest if
    they tie.

    Args:
        runs: what `read_runs` gives.
        shared: name of the shared model's run; by default the one with the most baselines that differ in `tasks` alone.

    Returns:
        What `BaselineMetrics` reads.

    Raises:
        BaselinesError: no run of several tasks, none of that name, or no single-task run of one of its tasks.
    """
    chosen = _shared(runs, shared)
    tasks = {}
    for task in chosen.tasks:
        alone = _alone(runs, chosen, task)
        if alone is not None and task in chosen.figures:
            keys = [key for own, key, _ in headline_metrics() if own == task]
            one, other = chosen.figures[task], alone.figures[task]
            tasks[task] = {
                "experiment": alone.name,
                "also_differs": differences(chosen, alone),
                "figures": {key: _figure(one.get(key), other.get(key)) for key in keys},
            }
    if not tasks:
        raise BaselinesError(
            f"no single-task experiment beside {chosen.name}; {_command(chosen.tasks[0])} makes one, likewise for the "
            "other tasks (experiments belong to the commit they started from: --rev names another)"
        )
    return {"shared": chosen.name, "tasks": tasks}


def _shared(runs: Sequence[Run], name: str | None) -> Run:
    several = [run for run in runs if len(run.tasks) > 1]
    if name is not None:
        several = [run for run in several if run.name == name or run.name.split()[0] == name]
        if not several:
            known = ", ".join(run.name for run in runs) or "none"
            raise BaselinesError(f"{name}: no run of several tasks by that name; runs with figures: {known}")
    if not several:
        raise BaselinesError("no run of a shared model with figures; run `dvc repro` with all three tasks and commit")

    def exact(run: Run) -> tuple[int, int]:
        alone = [_alone(runs, run, task) for task in run.tasks]
        return sum(one is not None and not differences(run, one) for one in alone), len(run.tasks)

    return max(several, key=exact)  # the first of those that tie


def _alone(runs: Sequence[Run], shared: Run, task: str) -> Run | None:
    """The run of this task alone that is most like the shared one."""
    singles = [run for run in runs if run.tasks == (task,) and task in run.figures]
    return min(singles, key=lambda run: len(differences(shared, run)), default=None)


def differences(one: Run, other: Run) -> list[str]:
    """Params and sources, tasks excepted, in which two runs differ."""
    keys = one.settings.keys() | other.settings.keys()
    return sorted(key for key in keys if one.settings.get(key) != other.settings.get(key))


def _figure(shared: float | None, alone: float | None) -> dict[str, float | None]:
    # Rounded, so that the difference of two decimals has no tail of digits.
    difference = None if shared is None or alone is None else round(shared - alone, 6)
    return {"shared": shared, "alone": alone, "difference": difference}


def described(found: Mapping[str, Any]) -> str:
    """The comparison as a table with what belongs to it."""
    from panvision.cli.summary import sharing_lines
    from panvision.core.tasks import TASKS
    from panvision.report.inputs import BaselineMetrics
    from panvision.report.sharing import read_sharing

    baselines = BaselineMetrics.model_validate(found)
    # Compared with itself: that these are figures of this run needs no remark here.
    current = {task: {key: value.shared for key, value in own.figures.items()} for task, own in baselines.tasks.items()}
    sharing = read_sharing(baselines, current)
    lines = [] if sharing is None else sharing_lines(sharing)
    alone = ", ".join(f"{task} {own.experiment}" for task, own in baselines.tasks.items())
    lines += ["", f"shared: {baselines.shared}; alone: {alone}"]
    missing = [task for task in TASKS if task not in baselines.tasks]
    if missing:
        lines.append(f"no baseline yet: {', '.join(_command(task) for task in missing)}")
    lines.append(f"written: {RESULT}; `dvc repro report` shows it in the report")
    return "\n".join(lines)


def _command(task: str) -> str:
    return f"`dvc exp run -S 'tasks=[{task}]'`"
