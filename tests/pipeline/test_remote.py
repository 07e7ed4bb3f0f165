"""Data, models and results shared through a DVC remote: a folder, and S3's protocol from a server on this machine."""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.pipeline.readme import block
from tests.pipeline.scratch import Scratch
from tests.pipeline.test_repro import stages_run

pytestmark = [pytest.mark.pipeline, pytest.mark.xdist_group("pipeline")]

FOLD = ("-S", "split.folds=3", "-S", "split.fold=1", "evaluate")
KEYS = {"AWS_ACCESS_KEY_ID": "somebody", "AWS_SECRET_ACCESS_KEY": "secret"}
NO_KEYS = {"AWS_EC2_METADATA_DISABLED": "true", "AWS_DEFAULT_REGION": "us-east-1", "NO_PROXY": "127.0.0.1"}


@dataclass(frozen=True)
class Shared:
    """A repository whose last commit and run cache were pushed by the README's commands."""

    pushed: Scratch
    env: dict[str, str]

    def clone(self, folder: Path) -> Scratch:
        return self.pushed.clone(folder, **self.env)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Address of an S3 server with an empty bucket `pans`."""
    moto = pytest.importorskip("moto.server", reason="moto, flask and flask-cors are in the extra dev")
    pytest.importorskip("dvc_s3", reason="dvc-s3 is in the extra s3")
    import boto3

    running = moto.ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    names = {"aws_access_key_id": "somebody", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
    boto3.client("s3", endpoint_url=f"http://{host}:{port}", **names).create_bucket(Bucket="pans")
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture(scope="module", params=["/mnt/team/panvision", "s3://BUCKET/panvision"], ids=["folder", "s3"])
def shared(request, queued, tmp_path_factory) -> Shared:
    folder = tmp_path_factory.mktemp("shared")
    commands = block("dvc remote add", request.param).replace("/mnt/team", str(folder / "remote"))
    env = {}
    if request.param.startswith("s3:"):
        commands = commands.replace("BUCKET", "pans").replace(
            "https://s3.example.com", request.getfixturevalue("server")
        )
        env = KEYS | NO_KEYS
    queued.run("git", "init", "--quiet", "--bare", str(folder / "origin"))
    pushing = queued.clone(folder / "pushing", shared_cache=True, **env)
    pushing.run("git", "remote", "set-url", "origin", str(folder / "origin"))
    pushing.run("git", "push", "--quiet", "--set-upstream", "origin", "HEAD")
    pushing.run("sh", "-e", "-c", commands)
    assert pushing.run("git", "status", "--porcelain", "--branch").strip().endswith("master...origin/master")
    return Shared(pushing, env)


def test_a_clone_pulls_everything_and_runs_nothing(shared, queued, tmp_path):
    clone = shared.clone(tmp_path)
    pull, repro = block("dvc pull", "dvc repro\n").splitlines()[:2]
    clone.run("sh", "-c", pull)
    assert contents(clone) == contents(queued)
    output = clone.run("sh", "-c", repro)
    assert skipped(output) == 10 and stages_run(output) == []
    assert "Data and pipelines are up to date." in output
    assert clone.run("git", "status", "--porcelain") == ""


def test_repro_pulls_what_it_needs_by_itself(shared, queued, tmp_path):
    clone = shared.clone(tmp_path)
    output = clone.dvc("repro", "--pull")
    assert stages_run(output) == []
    assert contents(clone) == contents(queued)
    assert clone.run("git", "status", "--porcelain") == ""


def test_an_experiment_that_somebody_ran_is_fetched_instead_of_trained(shared, queued, tmp_path):
    clone = shared.clone(tmp_path)
    output = clone.dvc("exp", "run", "--pull", *FOLD)
    assert stages_run(output) == []
    assert {"train_phase1", "train_phase2", "evaluate"} <= set(re.findall("Stage '(.+)' is cached", output))
    commits = json.loads(queued.dvc("exp", "show", "--json"))
    (made,) = (
        experiment["revs"][0]["data"]["metrics"]
        for commit in commits
        for experiment in commit["experiments"] or ()
        if experiment["revs"][0]["data"]["params"]["params.yaml"]["data"]["split"] | {"folds": 3, "fold": 1}
        == experiment["revs"][0]["data"]["params"]["params.yaml"]["data"]["split"]
    )
    for name in ("data", "segmentation", "detection", "classification"):
        path = f"metrics/{name}.json"
        assert json.loads((clone.folder / path).read_text()) == made[path]["data"]


def test_no_credentials_reach_git(shared):
    config = shared.pushed.run("git", "show", "origin/master:.dvc/config")
    assert "shared" in config
    assert not [value for value in KEYS.values() if value in config]


def skipped(output: str) -> int:
    return len(re.findall(r"Stage '.+' didn't change, skipping", output))


def contents(clone: Scratch) -> dict[str, str]:
    """Path → hash of every file that git has or DVC made."""
    folders = ("data", "photos", "build", "models", "reports", "metrics")
    files = [path for folder in folders for path in (clone.folder / folder).rglob("*") if path.is_file()]
    assert len(files) > 100
    return {
        str(path.relative_to(clone.folder)): hashlib.md5(path.read_bytes()).hexdigest()  # noqa: S324
        for path in files
    }
