import pytest

from panvision.experiments.revisions import params_of

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
