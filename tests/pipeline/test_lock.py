"""The committed dvc.lock, metrics, params and code belong together: a fresh clone has nothing to re-run."""

import json
import subprocess
import sys

import pytest

from tests.pipeline.scratch import ROOT, environment, read_yaml

pytestmark = pytest.mark.pipeline


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """The last commit as a newcomer gets it."""
    folder = tmp_path_factory.mktemp("clone")
    env = environment(folder)
    trust = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"}
    command = ["git", "clone", "--quiet", "--depth", "1", f"file://{ROOT}", str(folder / "repo")]
    subprocess.run(command, env=env | trust, check=True)
    if not (folder / "repo/dvc.lock").exists():
        pytest.skip("dvc.lock is not committed yet")
    return folder


def test_fresh_clone_has_no_changed_deps_and_its_locks_metrics(clone):
    command = [sys.executable, "-m", "dvc", "status", "--json"]
    done = subprocess.run(
        command, cwd=clone / "repo", env=environment(clone), capture_output=True, text=True, check=True
    )
    made = made_paths(read_yaml(clone / "repo/dvc.lock"))
    faults = {
        f"{stage}: {path}: {state}"
        for stage, found in json.loads(done.stdout).items()
        for kind, path, state in changes(found)
        # What a stage makes is not in git, so a clone has none of it until the pipeline runs.
        if not (state in {"deleted", "not in cache"} and any(below(path, out) for out in made))
    }
    assert not faults, "run `dvc repro` and commit dvc.lock and metrics/"


def test_every_stage_was_locked_with_what_the_earlier_ones_made(clone):
    lock = read_yaml(clone / "repo/dvc.lock")
    made = made_paths(lock)
    for name, stage in lock["stages"].items():
        for dep in stage.get("deps", []):
            if dep["path"] in made:
                assert dep["md5"] == made[dep["path"]], f"{name} was locked with another {dep['path']}"


def made_paths(lock: dict) -> dict[str, str]:
    """Path → hash of everything that a stage made."""
    return {out["path"]: out["md5"] for stage in lock["stages"].values() for out in stage.get("outs", [])}


def changes(found: list) -> list[tuple[str, str, str]]:
    """(kind, path, state) of each change of one stage in `dvc status --json`."""
    listed = []
    for entry in found:
        if isinstance(entry, str):
            listed.append(("stage", entry, "changed"))
            continue
        for kind, paths in entry.items():
            for path, state in paths.items():
                states = state.items() if isinstance(state, dict) else [(path, state)]
                listed.extend((kind, key, value) for key, value in states)
    return listed


def below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder}/")
