"""Results and params of a git revision, a DVC experiment or the workspace; nothing is checked out."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from panvision.core.tasks import TASKS
from panvision.evaluation.results import (
    Predictions,
    Results,
    parse_predictions,
    parse_results,
    read_predictions,
    read_results,
)
from panvision.experiments.git import commit_of
from panvision.report.inputs import leaves

WORKSPACE = "workspace"  # DVC's name of it
FOLDER = "reports/results"
PACKED = ("build/prepared", "build/splits.csv")
LOCK = "dvc.lock"
# Stages after the evaluation: their params change no metric.
AFTERWARDS = ("export", "report")


class RevisionError(ValueError):
    """A revision without results; the message names it and the remedy."""


def results_of(project: Path, rev: str) -> dict[str, Results]:
    """Return every task's results at a revision.

    Raises:
        RevisionError: no such revision, or its results are missing.
        ResultsError: its results are damaged or of another version.
    """
    if rev == WORKSPACE:
        return {task: read_results(project / FOLDER / f"{task}.json") for task in TASKS}
    texts = _texts(project, rev, [f"{task}.json" for task in TASKS])
    return {task: parse_results(text, name) for task, (name, text) in zip(TASKS, texts.items(), strict=True)}


def predictions_of(project: Path, rev: str) -> Predictions:
    """Return the whole results of the test images at a revision.

    Raises:
        RevisionError, ResultsError: as `results_of`.
    """
    if rev == WORKSPACE:
        return read_predictions(project / FOLDER / "predictions.json")
    ((name, text),) = _texts(project, rev, ["predictions.json"]).items()
    return parse_predictions(text, name)


def _texts(project: Path, rev: str, files: Iterable[str]) -> dict[str, str]:
    """Return the texts of files of FOLDER at a revision, by their names in messages."""
    from dvc.api import DVCFileSystem
    from dvc.exceptions import DvcException

    try:
        system = DVCFileSystem(str(project), rev=commit_of(project, rev))
        known = {path.rsplit("/", 1)[-1] for path in system.ls(FOLDER, detail=False)} if system.isdir(FOLDER) else set()
    except DvcException as error:
        raise RevisionError(
            f"{rev}: neither a git revision nor a DVC experiment of {project.resolve().name} ({error}); see `git log` "
            "and `dvc exp list --all-commits`, fetch missing ones with `git fetch` or `dvc exp pull`"
        ) from error
    found: dict[str, str] = {}
    for file in files:
        name = f"{rev}:{FOLDER}/{file}"
        if file not in known:
            raise RevisionError(
                f"{name}: not in that revision, which has no per-image results; check it out, run `dvc repro evaluate` "
                "with this version and commit"
            )
        try:
            found[name] = system.read_text(f"{FOLDER}/{file}", encoding="utf-8")
        except (OSError, DvcException) as error:
            raise RevisionError(
                f"{name}: neither in the cache nor in a remote, because another machine made it; commit your own run "
                "first (`git commit -am 'My first run'`), or fetch it: `dvc push` (an experiment: `dvc exp "
                "push`) there, then `dvc fetch --all-commits evaluate` here"
            ) from error
    return found


def packed_at(project: Path, rev: str, folder: Path) -> tuple[Path, Path]:
    """Copy the packed datasets and the splits of a revision into a folder, from DVC's cache or remote.

    Returns:
        The folder of the packed datasets, and splits.csv.

    Raises:
        RevisionError: no such revision, or its packed datasets are missing.
    """
    from dvc.api import DVCFileSystem
    from dvc.exceptions import DvcException
    from dvc_data.index import DataIndexDirError

    try:
        files = DVCFileSystem(str(project), rev=commit_of(project, rev))
        # Raises for an unknown revision; `exists` would not.
        files.isdir("build")
    except DvcException as error:
        raise RevisionError(
            f"{rev}: neither a folder nor a ZIP nor a git revision of {project.resolve().name} ({error}); see `git log`"
        ) from error
    for name in PACKED:
        try:
            if not files.exists(name):
                raise RevisionError(f"{rev}:{name}: not in that revision; name a commit of which `dvc repro` was run")
            files.get(name, str(folder / Path(name).name), recursive=True)
        except (OSError, DvcException, DataIndexDirError) as error:
            raise RevisionError(
                f"{rev}:{name}: neither in the cache nor in a remote; `dvc fetch --all-commits validate` gets what "
                "others pushed, or name a folder with the earlier data"
            ) from error
    return folder / "prepared", folder / "splits.csv"


def params_of(project: Path, rev: str) -> dict[str, Any] | None:
    """Return the params that a revision's results were made with, by dotted key; None without a sound dvc.lock.

    Args:
        project: the repository's folder.
        rev: an existing git revision or DVC experiment, or `workspace`.
    """
    import yaml
    from dvc.api import DVCFileSystem
    from dvc.exceptions import DvcException

    try:
        if rev == WORKSPACE:
            text = (project / LOCK).read_text(encoding="utf-8")
        else:
            text = DVCFileSystem(str(project), rev=commit_of(project, rev)).read_text(LOCK, encoding="utf-8")
        stages = yaml.safe_load(text)["stages"]
        return {key: value for name in stages if name not in AFTERWARDS for key, value in _locked(stages[name])}
    except (OSError, UnicodeDecodeError, DvcException, yaml.YAMLError, AttributeError, KeyError, TypeError):
        return None


def _locked(stage: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the params of one stage."""
    for values in stage.get("params", {}).values():
        yield from ((".".join(path), value) for path, value in leaves(values))
