import pytest

from panvision.experiments.revisions import RevisionError, packed_at, params_of
from tests.pipeline.scratch import Scratch

LOCK = """\
schema: '2.0'
stages:
  train_phase1:
    cmd: train
    params:
      params.yaml:
        seed: 42
        loss: {cls: 2.0, box: smooth_l1}
  train_phase2:
    cmd: train
    params:
      params.yaml:
        train.phase2: {epochs: 26}
        classification.order: [raw, burnt]
  report:
    cmd: report
    params:
      params.yaml:
        report.images: 4
  evaluate:
    cmd: evaluate
"""


def test_params_are_those_of_the_lock_not_of_params_yaml(tmp_path):
    (tmp_path / "dvc.lock").write_text(LOCK)
    (tmp_path / "params.yaml").write_text("seed: 43\n")
    assert params_of(tmp_path, "workspace") == {
        "seed": 42,
        "loss.cls": 2.0,
        "loss.box": "smooth_l1",
        "train.phase2.epochs": 26,
        "classification.order": ["raw", "burnt"],
    }


@pytest.mark.parametrize("text", [None, "", "stages: 3\n", "stages: {a: {params: {p: 3}}}\n", "{", "- a\n", "\x00"])
def test_params_are_unknown_without_a_sound_lock(tmp_path, text):
    if text is not None:
        (tmp_path / "dvc.lock").write_text(text)
    assert params_of(tmp_path, "workspace") is None


@pytest.fixture
def repo(tmp_path) -> Scratch:
    """A first commit without packed data, and a second one with some that DVC has."""
    repo = Scratch.empty(tmp_path)
    repo.commit("empty")
    (repo.folder / "build/prepared/detection").mkdir(parents=True)
    for name in ("prepared/detection/index.csv", "splits.csv"):
        (repo.folder / "build" / name).write_text(f"{name} of the commit")
    repo.dvc("add", "--quiet", "build/prepared/detection", "build/splits.csv")
    repo.commit("data")
    return repo


def test_packed_data_of_a_revision_are_copied(repo, tmp_path):
    (repo.folder / "build/splits.csv").write_text("of the workspace")
    # An experiment that was interrupted leaves its baseline behind, which DVC takes for HEAD.
    repo.run("git", "update-ref", "refs/exps/exec/EXEC_BASELINE", "HEAD~1")
    prepared, splits = packed_at(repo.folder, "HEAD", tmp_path / "copy")
    assert (prepared / "detection/index.csv").read_text() == "prepared/detection/index.csv of the commit"
    assert splits.read_text() == "splits.csv of the commit"
    with pytest.raises(RevisionError, match=r"^HEAD~1:build/prepared: not in that revision"):
        packed_at(repo.folder, "HEAD~1", tmp_path / "copy")
    with pytest.raises(RevisionError, match=r"^no-such: neither a folder nor a ZIP nor a git revision"):
        packed_at(repo.folder, "no-such", tmp_path / "copy")
    clone = repo.clone(tmp_path / "clone", shared_cache=False)
    with pytest.raises(RevisionError, match=r"^HEAD:build/prepared: neither in the cache nor in a remote"):
        packed_at(clone.folder, "HEAD", tmp_path / "other")
