"""The runs that `dvc exp show --json` prints: the only reader of it."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from panvision.evaluation.summary import FILE, summary_names
from panvision.experiments.revisions import WORKSPACE
from panvision.report.inputs import leaves


class RunsError(ValueError):
    """The text is not what DVC 3 prints; the message says what was found and the remedy."""


@dataclass(frozen=True)
class Run:
    """One run of the pipeline.

    Attributes:
        name: an experiment's name, `workspace`, or `commit` with seven digits.
        commit: seven digits of the commit that it is or started from; `workspace` for the workspace.
        experiment: True if it is one.
        time: when DVC recorded it, ISO 8601, or "".
        params: by dotted key.
        metrics: headline metrics by key, by task. DVC leaves out what is null.
        sources: hash of every dependency that no stage makes, by path.
    """

    name: str
    commit: str
    experiment: bool
    time: str
    params: dict[str, Any]
    metrics: dict[str, dict[str, Any]]
    sources: dict[str, Any]


def read_runs(text: str) -> list[Run]:
    """Return the workspace and each commit, each followed by its finished experiments.

    Queued, running and failed experiments are left out: DVC shows the metrics of the run before them as theirs.

    Raises:
        RunsError: the text is not what `dvc exp show --json` of DVC 3 prints.
    """
    try:
        return [run for state in json.loads(text) for run in _runs(state)]
    except (json.JSONDecodeError, LookupError, TypeError, AttributeError) as error:
        raise RunsError(f"not the output of `dvc exp show --json` ({error!r}); pipe it in from DVC 3") from error


def _runs(state: Mapping[str, Any]) -> Iterator[Run]:
    commit = state["rev"] if state["rev"] == WORKSPACE else state["rev"][:7]
    if state["data"] and not state.get("error"):
        yield _run(state["data"], WORKSPACE if commit == WORKSPACE else f"commit {commit}", commit, experiment=False)
    for entry in state["experiments"] or ():
        newest = entry["revs"][0]
        progress = (entry["executor"] or {}).get("state", "success")
        if progress == "success" and not newest.get("error") and newest["data"]:
            name = entry.get("name") or newest.get("rev", "")[:7]
            yield _run(newest["data"], name, commit, experiment=True)


def _run(data: Mapping[str, Any], name: str, commit: str, *, experiment: bool) -> Run:
    outs = data.get("outs", {})
    files = [file["data"] or {} for file in data["params"].values()]
    return Run(
        name,
        commit,
        experiment,
        time=data["timestamp"] or "",
        params={".".join(path): value for file in files for path, value in leaves(file)},
        metrics=_headlines({Path(path).name: found.get("data") or {} for path, found in data["metrics"].items()}),
        sources={path: dep["hash"] for path, dep in data.get("deps", {}).items() if path not in outs},
    )


def _headlines(files: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the headline metrics by task and key, from the metrics files by name.

    Commits before there was a summary have them in the file of each task.
    """
    found: dict[str, dict[str, Any]] = {}
    for name, (task, key) in summary_names().items():
        values, field = (files[FILE], name) if FILE in files else (files.get(f"{task}.json", {}), key)
        if field in values:
            found.setdefault(task, {})[key] = values[field]
    return found
