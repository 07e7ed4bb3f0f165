"""Registered versions with real git and dvc."""

import pytest
from dvc.repo import Repo

from panvision.experiments.registry import RegistryError, prepare_registration
from tests.pipeline.scratch import Scratch

pytestmark = pytest.mark.process

PIPELINE = """\
stages:
  export:
    cmd: python -c "open('models/pans.onnx', 'w').write('first')"
    outs: [models/pans.onnx]
artifacts:
  pans: {path: models/pans.onnx, type: model}
"""


@pytest.fixture
def repo(tmp_path, monkeypatch) -> Scratch:
    """A project whose only stage ran and was committed."""
    repo = Scratch.empty(tmp_path)
    (repo.folder / "models").mkdir()
    (repo.folder / "dvc.yaml").write_text(PIPELINE)
    repo.dvc("repro", "--quiet")
    repo.commit("first")
    repo.lend_identity(monkeypatch)
    return repo


def model_of(repo):
    return repo.folder / "models/pans.onnx"


def test_a_version_is_an_annotated_tag_that_dvc_finds(repo):
    registration = prepare_registration(model_of(repo), "v0.1.0")
    assert repo.run("git", "tag") == ""  # nothing is written before the decision
    registration.write("better\n\n# {}\n")
    assert repo.run("git", "cat-file", "-t", "pans@v0.1.0") == "tag\n"
    assert repo.run("git", "tag", "--list", "--format=%(contents)").strip() == "better\n\n# {}"
    with Repo(str(repo.folder)) as dvc:
        assert dvc.artifacts.get_rev("pans", version="v0.1.0") == registration.commit
        assert dvc.artifacts.get_path("pans") == "models/pans.onnx"
    repo.dvc("artifacts", "get", str(repo.folder), "pans", "--rev", "v0.1.0", "--out", str(repo.folder / "got.onnx"))
    assert (repo.folder / "got.onnx").read_text() == "first"


@pytest.mark.parametrize("version", ["v0.9.9", "v1.0.0", "1.1.0", "v1.1", "v01.2.0", "latest"])
def test_versions_rise_and_have_three_numbers(repo, version):
    prepare_registration(model_of(repo), "v1.0.0").write("first")
    prepare_registration(model_of(repo), "v1.10.0").write("tenth")
    with pytest.raises(RegistryError, match=version):
        prepare_registration(model_of(repo), version)
    assert prepare_registration(model_of(repo), "v1.10.1").tag == "pans@v1.10.1"


def change_file(repo):
    model_of(repo).unlink()
    model_of(repo).write_text("second")


def change_lock(repo):
    change_file(repo)
    repo.dvc("commit", "--force", "--quiet")


def forget_artifact(repo):
    (repo.folder / "dvc.yaml").write_text(PIPELINE.partition("artifacts")[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (change_file, r"pans\.onnx: not the file of dvc\.lock; run `dvc repro`"),
        (change_lock, r"dvc\.yaml or dvc\.lock is not committed"),
        (forget_artifact, r"pans\.onnx: not an artifact of .*dvc\.yaml; its artifacts: none"),
    ],
)
def test_a_model_that_the_commit_does_not_name_is_refused(repo, change, message):
    change(repo)
    with pytest.raises(RegistryError, match=message):
        prepare_registration(model_of(repo), "v1.0.0")


def test_without_an_identity_nothing_is_scored_in_vain(repo, monkeypatch):
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.delenv(f"GIT_{role}_NAME")
        monkeypatch.delenv(f"GIT_{role}_EMAIL")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    repo.run("git", "config", "user.useConfigOnly", "true")
    with pytest.raises(RegistryError, match=r"repo: git knows no name and email for the tag; `git config"):
        prepare_registration(model_of(repo), "v1.0.0")


def test_a_folder_outside_git_is_refused(tmp_path):
    (tmp_path / "m.onnx").write_text("")
    with pytest.raises(RegistryError, match="register in a repository"):
        prepare_registration(tmp_path / "m.onnx", "v1.0.0")
