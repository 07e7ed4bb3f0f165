"""Data, models and results shared through a DVC remote: a folder, and S3's protocol from a server on this machine."""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.pipeline.readme import block
from tests.pipeline.scratch import Scratch, read_yaml
from tests.pipeline.test_experiments import TASKS, experiments_of, folds_of
from tests.pipeline.test_repro import stages_run

pytestmark = [pytest.mark.pipeline, pytest.mark.xdist_group("pipeline")]

METRICS = ("data", *TASKS)
FOLD = ("-S", "split.folds=3", "-S", "split.fold=1", "evaluate")
KEYS = {"AWS_ACCESS_KEY_ID": "tester", "AWS_SECRET_ACCESS_KEY": "secret"}
NO_KEYS = {"AWS_EC2_METADATA_DISABLED": "true", "AWS_DEFAULT_REGION": "us-east-1", "NO_PROXY": "127.0.0.1"}


@dataclass(frozen=True)
class Shared:
    """A repository whose last commit and one experiment were pushed by the README's commands."""

    pushed: Scratch
    experiment: str
    env: dict[str, str]

    def clone(self, folder: Path) -> Scratch:
        """Make a colleague's `git clone` of the origin."""
        clone = self.pushed.clone(folder, **self.env)
        clone.run("git", "remote", "set-url", "origin", self.pushed.run("git", "remote", "get-url", "origin").strip())
        return clone


@pytest.fixture(scope="module")
def made(queued) -> tuple[str, dict[str, dict]]:
    """Name and metrics of the experiment that the queue made of FOLD, the metrics of its commit."""
    experiments = experiments_of(queued)
    name, _ = folds_of(queued, experiments)[1]
    commit = experiments[name]["revs"][0]["rev"]
    return name, {stem: json.loads(queued.run("git", "show", f"{commit}:metrics/{stem}.json")) for stem in METRICS}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Address of an S3 server with an empty bucket `pans`."""
    moto = pytest.importorskip("moto.server", reason="moto, flask and flask-cors are in the extra dev")
    pytest.importorskip("dvc_s3", reason="dvc-s3 is in the extra s3")
    import boto3

    running = moto.ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    names = {"aws_access_key_id": "tester", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
    boto3.client("s3", endpoint_url=f"http://{host}:{port}", **names).create_bucket(Bucket="pans")
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture(scope="module")
def in_a_folder(queued, made) -> Shared:
    return Shared(queued, made[0], {})


@pytest.fixture(scope="module")
def on_s3(scratch, queued, server, tmp_path_factory) -> Shared:
    """Shares the cache of `queued`, and so has only to split and to score for the same experiment."""
    folder = tmp_path_factory.mktemp("s3")
    pushing = scratch.clone(folder, shared_cache=True, **KEYS, **NO_KEYS)
    pushing.dvc("checkout", "--quiet")
    pushing.has_origin(folder / "origin")
    commands = block("dvc remote add", "s3://").replace("BUCKET", "pans").replace("https://s3.example.com", server)
    pushing.run("sh", "-e", "-c", commands)
    pushing.dvc("exp", "run", "--name", "fold", *FOLD)
    pushing.run("git", "checkout", "--quiet", ".")
    pushing.dvc("checkout", "--quiet")
    return Shared(pushing, "fold", KEYS | NO_KEYS)


@pytest.fixture(scope="module", params=["in_a_folder", "on_s3"])
def shared(request) -> Shared:
    shared = request.getfixturevalue(request.param)
    shared.pushed.run("sh", "-c", exp("push", shared.experiment))
    return shared


def test_a_clone_pulls_everything_and_runs_nothing(shared, tmp_path):
    clone = shared.clone(tmp_path)
    pull, repro = block("dvc pull", "dvc repro\n").splitlines()[:2]
    clone.run("sh", "-c", pull)
    assert contents(clone) == contents(shared.pushed)
    output = clone.run("sh", "-c", repro)
    assert skipped(output) == 10 and stages_run(output) == []
    assert "Data and pipelines are up to date." in output
    assert clone.run("git", "status", "--porcelain") == ""


def test_repro_pulls_what_it_needs_by_itself(shared, tmp_path):
    clone = shared.clone(tmp_path)
    output = clone.dvc("repro", "--pull")
    assert stages_run(output) == []
    photos = {path for path in contents(shared.pushed) if path.startswith("photos/")}  # which the demo does not need
    assert contents(clone) == {path: value for path, value in contents(shared.pushed).items() if path not in photos}
    assert clone.run("git", "status", "--porcelain") == ""


def test_a_colleagues_training_is_fetched_instead_of_repeated(shared, made, tmp_path):
    clone = shared.clone(tmp_path)
    output = clone.dvc("exp", "run", "--pull", *FOLD)
    assert stages_run(output) == ["validate", "evaluate"]  # their metrics are in git, so DVC has no copies of them
    assert re.findall("Stage '(train.+)' is cached", output) == ["train_phase1", "train_phase2"]
    assert metrics(clone) == made[1]


def test_an_experiment_is_pulled_and_applied_with_its_models(shared, made, tmp_path):
    clone = shared.clone(tmp_path)
    clone.run("sh", "-c", exp("pull", shared.experiment))
    clone.run("sh", "-c", exp("apply", shared.experiment))
    assert metrics(clone) == made[1]
    lock = read_yaml(clone.folder / "dvc.lock")["stages"]["train_phase2"]
    model = hashlib.md5((clone.folder / "models/best_model.pth").read_bytes()).hexdigest()  # noqa: S324
    assert {"models/best_model.pth": model}.items() <= {out["path"]: out["md5"] for out in lock["outs"]}.items()


def test_no_credentials_reach_git(shared):
    config = shared.pushed.run("git", "show", "@{upstream}:.dvc/config")
    assert "shared" in config
    assert not [value for value in KEYS.values() if value in config]


def metrics(clone: Scratch) -> dict[str, dict]:
    return {name: json.loads((clone.folder / f"metrics/{name}.json").read_text()) for name in METRICS}


def exp(command: str, name: str) -> str:
    """The README's `dvc exp` command for an experiment that is pushed, pulled or applied."""
    (line,) = (line for line in block("dvc exp pull").splitlines() if line.startswith(f"dvc exp {command} "))
    return line.replace("NAME", name)


def skipped(output: str) -> int:
    return len(re.findall(r"Stage '.+' didn't change, skipping", output))


def contents(clone: Scratch) -> dict[str, str]:
    """Path → hash of every file that git has or DVC made."""
    folders = ("data", "photos", "build", "models", "reports", "metrics")
    files = [path for folder in folders for path in (clone.folder / folder).rglob("*") if path.is_file()]
    assert len(files) > 80
    return {
        str(path.relative_to(clone.folder)): hashlib.md5(path.read_bytes()).hexdigest()  # noqa: S324
        for path in files
    }
