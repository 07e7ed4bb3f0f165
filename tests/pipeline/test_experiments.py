"""Many experiments at a time with `dvc queue`, among them the README's k-fold cross-validation."""

import hashlib
import json
import re
from statistics import fmean

import pytest
from dvc.repo import Repo

from tests.pipeline.readme import block
from tests.pipeline.scratch import Scratch, read_yaml

pytestmark = [pytest.mark.pipeline, pytest.mark.xdist_group("pipeline")]

TASKS = ("segmentation", "detection", "classification")


def experiments_of(repository: Scratch) -> dict[str, dict]:
    """Name → what `dvc exp show` has of each experiment."""
    commits = json.loads(repository.dvc("exp", "show", "--json"))
    (found,) = (commit["experiments"] for commit in commits if commit["experiments"])
    return {experiment["name"]: experiment for experiment in found}


def folds_of(experiments: dict[str, dict]) -> dict[int, tuple[str, dict[str, dict]]]:
    """Fold → name of its experiment, and its metrics by the file's stem, without export's, which was not made."""
    found = {}
    for name, experiment in experiments.items():
        data = experiment["revs"][0]["data"]
        split = data["params"]["params.yaml"]["data"]["split"]
        if split["folds"]:
            found[split["fold"]] = (
                name,
                {stem: data["metrics"][f"metrics/{stem}.json"]["data"] for stem in ("data", *TASKS)},
            )
    return found


def without_nulls(figures: dict) -> dict:
    """Figures as `dvc exp show` has them: it leaves out what is undefined below the top level."""
    kept = {name: without_nulls(value) if isinstance(value, dict) else value for name, value in figures.items()}
    return {name: value for name, value in kept.items() if value is not None}


@pytest.fixture(scope="module")
def experiments(queued) -> dict[str, dict]:
    return experiments_of(queued)


@pytest.fixture(scope="module")
def folds(experiments) -> dict[int, tuple[str, dict[str, dict]]]:
    return folds_of(experiments)


def test_every_experiment_of_the_queue_finishes(queued, experiments, folds):
    failed = {name for name, experiment in experiments.items() if experiment["executor"]["state"] != "success"}
    assert not failed, [queued.dvc("queue", "logs", name) for name in failed]
    assert set(folds) == {0, 1, 2}
    assert len(experiments) == 5 and {"outside", "added"} < set(experiments)


def test_every_photo_is_a_test_photo_in_one_fold(folds):
    for task in TASKS:
        data = [metrics["data"][task] for _, metrics in folds.values()]
        assert sum(split["test"] for split in data) == 12
        assert {split["test"] + split["val"] + split["train"] for split in data} == {12}
    scores = [metrics["segmentation"]["miou"] for _, metrics in folds.values()]
    assert len(set(scores)) == 3


def test_the_readmes_command_collects_the_folds_scores(queued, folds):
    rows = [line.split() for line in queued.run("sh", "-c", block("panvision folds").splitlines()[-1]).splitlines()]
    (miou,) = (row for row in rows if "mIoU" in row)
    assert rows[0][:4] == ["3", "of", "3", "folds"]
    assert miou[2] == f"{fmean(metrics['segmentation']['miou'] for _, metrics in folds.values()):.3f}"
    assert miou[-1] == "3"


def test_own_photos_outside_or_added_to_dvc_are_prepared_as_the_demo_sets_are(queued, experiments):
    (made,) = read_yaml(queued.folder / "dvc.lock")["stages"]["prepare@detection"]["outs"]
    for name in ("outside", "added"):
        data = experiments[name]["revs"][0]["data"]
        assert data["outs"]["build/prepared/detection"]["hash"] == made["md5"]
        assert any(path.endswith("photos/detection") for path in data["deps"])


def test_the_workspace_is_as_before_and_nothing_is_half_written(queued):
    assert queued.run("git", "status", "--porcelain") == ""
    with Repo(str(queued.folder)) as repo:
        assert not repo.status()
        cache = repo.cache.local.path
    assert not list(queued.folder.glob(".dvc/tmp/exps/tmp*"))
    for path in (path for path in (queued.folder.parent / cache).rglob("*") if path.is_file()):
        assert re.fullmatch(r"[0-9a-f]{30}(\.dir)?", path.name), path
        assert path.parent.name + path.name.removesuffix(".dir") == hashlib.md5(path.read_bytes()).hexdigest()  # noqa: S324


def test_a_fold_that_is_applied_is_whole(queued, folds):
    name, metrics = folds[1]
    try:
        queued.dvc("exp", "apply", name)
        with Repo(str(queued.folder)) as repo:
            changed = {address.split(":")[-1] for address in repo.status()}
        assert changed <= {"export", "report"}  # which the README's command does not ask for
        applied = json.loads((queued.folder / "metrics/detection.json").read_text())
        assert without_nulls(applied) == without_nulls(metrics["detection"])
    finally:
        queued.run("git", "checkout", "--quiet", ".")
        queued.dvc("checkout", "--quiet")
