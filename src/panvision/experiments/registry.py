"""A registered model: a version of an artifact of dvc.yaml, as an annotated git tag `name@v1.2.3`.

This is the form of GTO, DVC's model registry, which `dvc artifacts get URL NAME --rev v1.2.3` reads:
https://doc.dvc.org/gto. The tag is all that is written. `dvc artifacts get` reads the artifact's path from the tagged
commit's dvc.yaml and its content from the commit's dvc.lock, so both must be committed.
"""

import hashlib
import re
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from panvision.experiments.git import git

LOCK = "dvc.lock"
PIPELINE = "dvc.yaml"
_VERSION = re.compile(r"v(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")


class RegistryError(ValueError):
    """A model that cannot be registered; the message names the file and the remedy."""


_git = partial(git, failure=RegistryError, remedy="register in a repository")


class Registration(NamedTuple):
    """A version that can be registered.

    Attributes:
        project: the repository's folder.
        tag: `name@v1.2.3`.
        commit: the commit to tag.
    """

    project: Path
    tag: str
    commit: str

    def write(self, message: str) -> None:
        """Make the annotated tag.

        Raises:
            RegistryError: git fails.
        """
        command = ("tag", "--annotate", self.tag, self.commit, "--cleanup=verbatim", "--file=-")
        _git(self.project, *command, given=message)


def prepare_registration(model: str | Path, version: str) -> Registration:
    """Check that a model file can be registered as a version; nothing is written.

    Args:
        model: path of an artifact of the dvc.yaml at the root of its git repository.
        version: as v1.2.3; above every registered version of this artifact.

    Raises:
        RegistryError: the version is not above the registered ones, the file is not an artifact, it is not the one of
            dvc.lock, dvc.yaml or dvc.lock are not committed, git knows no name for the tag, or there is no git
            repository.
    """
    model = Path(model)
    project = Path(_git(model.parent, "rev-parse", "--show-toplevel"))
    try:
        path = model.resolve().relative_to(project.resolve()).as_posix()
    except ValueError as error:
        raise RegistryError(f"{model}: a link to a file outside {project}; name a file of the repository") from error
    name = _artifact_name(project, path, model)
    tag = f"{name}@{_checked(project, name, version)}"
    locked = _locked_md5(project, path)
    own = hashlib.md5(model.read_bytes(), usedforsecurity=False).hexdigest()
    if locked != own:
        raise RegistryError(
            f"{model}: {'not an output of' if locked is None else 'not the file of'} {LOCK}; run `dvc repro`, or "
            "`dvc checkout` for the committed one"
        )
    if _git(project, "status", "--porcelain", "--", PIPELINE, LOCK):
        raise RegistryError(f"{project / LOCK}: {PIPELINE} or {LOCK} is not committed; `git commit` them first")
    try:
        _git(project, "var", "GIT_COMMITTER_IDENT")
    except RegistryError as error:
        raise RegistryError(
            f"{project}: git knows no name and email for the tag; `git config user.name NAME` and `git config "
            "user.email EMAIL` set them"
        ) from error
    return Registration(project, tag, _git(project, "rev-parse", "HEAD"))


def _checked(project: Path, name: str, version: str) -> str:
    """Return the version, if it is above every registered one."""
    if not _VERSION.fullmatch(version):
        raise RegistryError(f"{version}: not a version; write one as v1.2.3")
    known = _git(project, "tag", "--list", f"{name}@v*").split()
    registered = [tag.removeprefix(f"{name}@") for tag in known if _VERSION.fullmatch(tag.removeprefix(f"{name}@"))]
    newest = max(registered, key=_numbers, default=None)
    if newest is not None and _numbers(version) <= _numbers(newest):
        raise RegistryError(f"{name}@{version}: {newest} is registered already; name a higher version")
    return version


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.removeprefix("v").split("."))


def _artifact_name(project: Path, path: str, model: Path) -> str:
    artifacts = _read(project / PIPELINE).get("artifacts") or {}
    found = [name for name, artifact in artifacts.items() if artifact.get("path") == path]
    if not found:
        known = ", ".join(str(artifact.get("path")) for artifact in artifacts.values()) or "none"
        raise RegistryError(f"{model}: not an artifact of {project / PIPELINE}; its artifacts: {known}")
    return str(found[0])


def _locked_md5(project: Path, path: str) -> str | None:
    """Return the MD5 of an output in dvc.lock; None if it is not one."""
    stages = _read(project / LOCK).get("stages") or {}
    outs = (out for stage in stages.values() for out in stage.get("outs", ()))
    return next((str(out.get("md5")) for out in outs if out.get("path") == path), None)


def _read(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise RegistryError(f"{path}: cannot be read ({type(error).__name__}); run `dvc repro` first") from error
    return values if isinstance(values, dict) else {}
