"""First steps of a newcomer: `make repro` in a folder without git, and `dvc add` of photos below data/."""

import os
import shutil
import subprocess
import sys

import pytest

from tests.pipeline.scratch import ROOT, environment


def test_make_repro_without_git_installs_nothing(tmp_path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "pip").write_text("#!/bin/sh\ntouch called\n")
    command = ["make", "--silent", "repro", f"PYTHON={tmp_path / 'pip'}"]
    env = os.environ | {"GIT_CEILING_DIRECTORIES": str(tmp_path.parent)}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "git init" in done.stderr
    assert not (tmp_path / ".venv").exists() and not (tmp_path / "called").exists()


@pytest.mark.parametrize("photos", ["data/photos", "data/own/detection"])
def test_dvc_add_below_data_leaves_photos_out_of_git(tmp_path, photos) -> None:
    env = environment(tmp_path / "state")
    repo = tmp_path / "repo"
    shutil.copytree(ROOT / ".dvc", repo / ".dvc", ignore=shutil.ignore_patterns("cache", "tmp", "*.local"))
    shutil.copy(ROOT / ".gitignore", repo)
    (repo / photos / "images").mkdir(parents=True)
    (repo / photos / "images/a.jpg").write_bytes(b"a")

    def run(*command: str) -> str:
        return subprocess.run(command, cwd=repo, env=env, capture_output=True, text=True, check=True).stdout

    run("git", "init", "--quiet")
    run(sys.executable, "-m", "dvc", "add", photos)
    added = run("git", "ls-files", "--others", "--exclude-standard", "data").split()
    assert added == sorted([f"{photos}.dvc", f"{photos.rpartition('/')[0]}/.gitignore"])
