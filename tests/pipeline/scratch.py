"""A scratch repository: the project's pipeline with settings so small that a stage is little more than its imports."""

import io
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from dvc.repo import Repo
from panvision_docs import parameters
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
COPIED = (
    "dvc.yaml",
    "requirements-train.lock",
    ".gitignore",
    ".dvcignore",
    ".dvc/.gitignore",
    ".dvc/config",
    ".dvc/page",
    ".dvc/plots",
    "data/pins.csv",
    "metrics/baselines.json",
    "metrics/benchmark.json",
    "metrics/previous.json",
    "stages",
    "src",
)
# Key path → value: seconds of work, the same pipeline.
TINY = {
    "scenes.width": 96,
    "scenes.height": 96,
    "scenes.images.segmentation": 12,
    "scenes.images.detection": 12,
    "scenes.images.classification": 12,
    "scenes.units": 2,
    "data.image_size": 64,
    "split.val": 0.25,
    "split.test": 0.25,
    "split.method": "balanced",
    "split.copy_difference": 0.0,
    "model.backbone": "resnet10",
    "model.weights": "none",
    "model.fpn_channels": 32,
    "model.head_convs": 1,
    "model.det_channels": 32,
    "model.seg_channels": 8,
    "model.cls_hidden": 8,
    "train.batch_size": 2,
    "train.epoch_steps": 2,
    "train.phase1.epochs": 1,
    "train.phase2.epochs": 1,
    "train.workers": 0,
    "train.save_steps": 1,
    "export.parity_images": 1,
    "export.calibration_images": 2,
    "report.images": 1,
    "report.worst": 1,
    "report.width": 64,
}


def read_yaml(path: Path) -> Any:
    """Read a file as DVC does: YAML 1.2."""
    return YAML(typ="safe").load(path.read_text(encoding="utf-8"))


def leaves(values: dict[str, Any]) -> dict[str, Any]:
    """Every key path of a params file with the value at it, which may be a mapping."""
    return dict(parameters.leaves(values))


def with_values(text: str, changes: dict[str, Any]) -> str:
    """A params file's text with the values at some key paths changed, comments and order kept."""
    yaml = YAML()
    params = yaml.load(text)
    for path, value in changes.items():
        *sections, key = path.split(".")
        section = params
        for name in sections:
            section = section[name]
        if key not in section:
            raise KeyError(path)
        section[key] = value
    changed = io.StringIO()
    yaml.dump(params, changed)
    return changed.getvalue()


@dataclass(frozen=True)
class Scratch:
    """A separate git and DVC repository, with an environment that knows nothing of its user's configuration."""

    folder: Path
    record: Path
    env: dict[str, str]

    @classmethod
    def create(cls, folder: Path) -> "Scratch":
        """Copy the pipeline from the working tree, shrink its settings, commit."""
        scratch = cls(folder / "repo", folder / "record", environment(folder))
        for name in COPIED:
            source, target = ROOT / name, scratch.folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
            else:
                shutil.copy(source, target)
        params = (ROOT / "presets/scratch.yaml").read_text(encoding="utf-8")
        (scratch.folder / "params.yaml").write_text(with_values(params, TINY), encoding="utf-8")
        scratch.run("git", "init", "--quiet")
        scratch.commit("tiny settings")
        return scratch

    @classmethod
    def empty(cls, folder: Path) -> "Scratch":
        """Make a repository without a commit."""
        scratch = cls(folder / "repo", folder / "record", environment(folder))
        scratch.folder.mkdir(parents=True)
        scratch.run("git", "init", "--quiet")
        scratch.dvc("init", "--quiet")
        return scratch

    def clone(self, folder: Path, *, shared_cache: bool = False, **variables: str) -> "Scratch":
        """Make a colleague's `git clone`: nothing that git ignores, and an empty DVC cache or this one's.

        Stages are not recorded there. `variables` are added to the environment of its commands.
        """
        env = {**environment(folder), "PYTHONPATH": str(folder / "repo/src"), **variables}
        clone = Scratch(
            folder / "repo", folder / "record", {key: env[key] for key in env.keys() - {"PANVISION_RECORD"}}
        )
        self.run("git", "clone", "--quiet", str(self.folder), str(clone.folder))
        if shared_cache:
            with Repo(str(self.folder)) as repo:
                clone.dvc("config", "--local", "cache.dir", repo.cache.local_cache_dir)
        return clone

    def has_origin(self, folder: Path) -> None:
        """Make a bare repository that is the git remote `origin`, with this one's commits."""
        self.run("git", "init", "--quiet", "--bare", str(folder))
        self.run("git", "remote", "set-url", "origin", str(folder))
        self.run("git", "push", "--quiet", "--set-upstream", "origin", "HEAD")

    def lend_identity(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Give this process the repository's settings of git."""
        for name, value in self.env.items():
            if name.startswith("GIT_"):
                monkeypatch.setenv(name, value)

    def run(self, *command: str) -> str:
        """Run a command in the repository, get its standard output; its failure is the test's, with all it said."""
        done = subprocess.run(command, cwd=self.folder, env=self.env, capture_output=True, text=True, check=False)
        if done.returncode:
            raise AssertionError(f"{' '.join(command)} failed:\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def dvc(self, *arguments: str) -> str:
        """Run DVC in the repository."""
        return self.run(sys.executable, "-m", "dvc", *arguments)

    def commit(self, message: str) -> None:
        """Commit everything that git does not ignore."""
        self.run("git", "add", "--all")
        self.run("git", "commit", "--quiet", "--message", message)

    def recorded(self, command: str, kind: str) -> set[str]:
        """Lines that the recorder wrote of one kind (`params`, `modules`) for one stage command."""
        path = self.record / command.removeprefix("python ").replace("/", " ") / kind
        return set(path.read_text().splitlines()) if path.exists() else set()


def environment(folder: Path) -> dict[str, str]:
    """The environment of commands in a scratch repository, all of whose state is below `folder`."""
    user = {f"GIT_{role}_{what}": value for role in ("AUTHOR", "COMMITTER") for what, value in _IDENTITY.items()}
    state = {f"DVC_{name}": str(folder / "dvc" / name.lower()) for name in _DVC_FOLDERS}
    return {
        **os.environ,
        **user,
        **state,
        "HOME": str(folder / "home"),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": f"{folder / 'repo/src'}{os.pathsep}{Path(__file__).parent / 'recorder'}",
        "PANVISION_RECORD": str(folder / "record"),
        "OMP_NUM_THREADS": "1",
        "WANDB_MODE": "offline",
    }


_IDENTITY = {"NAME": "Tester", "EMAIL": "tester@example.com"}
_DVC_FOLDERS = ("GLOBAL_CONFIG_DIR", "SYSTEM_CONFIG_DIR", "SITE_CACHE_DIR")
