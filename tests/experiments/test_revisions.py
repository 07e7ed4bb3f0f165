import pytest

from panvision.experiments.differing import ABSENT, differing, params_of, shown

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


def test_the_lock_tells_what_the_results_were_made_with(tmp_path):
    (tmp_path / "dvc.lock").write_text(LOCK)
    (tmp_path / "params.yaml").write_text("seed: 43\n")
    assert params_of(tmp_path, "workspace") == {
        "seed": 42,
        "loss.cls": 2.0,
        "loss.box": "smooth_l1",
        "train.phase2.epochs": 26,
        "classification.order": ["raw", "burnt"],
    }


@pytest.mark.parametrize("text", ["", "stages: 3\n", "stages: {a: {params: {p: 3}}}\n", "{", "- a\n", "\x00"])
def test_without_a_sound_lock_nothing_is_said_of_params(tmp_path, text):
    (tmp_path / "dvc.lock").write_text(text)
    assert params_of(tmp_path, "workspace") is None and differing(None, {}) is None
    (tmp_path / "dvc.lock").unlink()
    assert params_of(tmp_path, "workspace") is None and differing({}, None) is None


def test_keys_that_differ_or_are_new_or_gone():
    one = {"a": 1, "b": True, "gone": None, "same": [1, {"x": 2}]}
    other = {"a": 2, "b": 1, "new": "x", "same": [1, {"x": 2}]}
    found = differing(one, other)
    assert found == {
        "a": {"one": 1, "other": 2},
        "b": {"one": True, "other": 1},
        "gone": {"one": None},
        "new": {"other": "x"},
    }
    assert [shown(sides) for sides in found.values()] == [
        ("1", "2"),
        ("true", "1"),
        ("null", ABSENT),
        (ABSENT, '"x"'),
    ]
    assert differing(one, one) == {}
    assert len(shown({"one": ["a long name"] * 9})[0]) == 24
