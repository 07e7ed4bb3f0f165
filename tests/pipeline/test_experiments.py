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


def folds_of(repository: Scratch, experiments: dict[str, dict]) -> dict[int, tuple[str, dict[str, dict]]]:
    """Fold → name of its experiment, and its metrics by the file's stem, without export's, which was not made."""

    def metrics(commit: str, stem: str) -> dict:
        return json.loads(repository.run("git", "show", f"{commit}:metrics/{stem}.json"))

    found = {}
    for name, experiment in experiments.items():
        data = experiment["revs"][0]["data"]
        split = data["params"]["params.yaml"]["data"]["split"]
        if split["folds"]:
            commit = experiment["revs"][0]["rev"]
            found[split["fold"]] = (name, {stem: metrics(commit, stem) for stem in ("data", *TASKS)})
    return found


@pytest.fixture(scope="module")
def experiments(queued) -> dict[str, dict]:
    return experiments_of(queued)


@pytest.fixture(scope="module")
def folds(queued, experiments) -> dict[int, tuple[str, dict[str, dict]]]:
    return folds_of(queued, experiments)


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


def test_the_leaderboard_has_a_line_per_run(queued, experiments, folds):
    header, *rows = queued.run("panvision", "experiments").partition("\n\n")[0].splitlines()
    assert re.split(r"  +", header) == ["run", "date", "score", "mIoU", "mAP@0.5", "mAP@[.5:.95]", "accuracy",
        "changed params"]  # fmt: skip
    assert {"workspace", *experiments} < {row.split()[0] for row in rows} and max(map(len, rows)) <= 120
    name, metrics = folds[2]
    (row,) = (row for row in rows if row.startswith(name))
    assert f"{metrics['segmentation']['miou']:.3f}" in row and "split.folds=3 split.fold=2" in row


def test_own_photos_are_prepared_like_the_demo_datasets(queued, experiments):
    (made,) = read_yaml(queued.folder / "dvc.lock")["stages"]["prepare@detection"]["outs"]
    for name in ("outside", "added"):
        data = experiments[name]["revs"][0]["data"]
        assert data["outs"]["build/prepared/detection"]["hash"] == made["md5"]
        assert any(path.endswith("photos") for path in data["deps"])


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
        assert applied == metrics["detection"]
    finally:
        queued.run("git", "checkout", "--quiet", ".")
        queued.dvc("checkout", "--quiet")
