"""The generated parts of the site follow their sources."""

import json
import re
import shutil

import pytest
from panvision_docs import fill
from panvision_docs.parameters import allowed, effect, parameters_text, presets_text
from panvision_docs.rooms import layers
from panvision_docs.stages import read_stages, rerun_by, stages_text

from panvision.core.params import load_params
from tests.docs.graph import reruns
from tests.pipeline.scratch import ROOT, leaves

KEYS = leaves(load_params(ROOT / "params.yaml"))


@pytest.fixture
def project(tmp_path):
    """A copy of the sources of the generated parts."""
    for name in ("params.yaml", "dvc.yaml", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "presets", tmp_path / "presets")
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc/config").write_text("[core]\n    no_scm = true\n    analytics = false\n")
    return tmp_path


def change(path, old, new):
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def entry(text, key):
    """Return a key's part of the page."""
    return re.search(rf"^\[`{re.escape(key)}`\].*?(?=\n\n)", text, flags=re.MULTILINE | re.DOTALL)[0]


def test_every_param_has_its_value_and_the_stages_that_it_reruns():
    text, stages = parameters_text(ROOT) + "\n\n", read_stages(ROOT)
    for key, value in KEYS.items():
        readers, later = rerun_by(key, stages)
        assert readers and (set(readers), set(later)) == reruns(ROOT, key), key
        described = " ".join(entry(text, key).split())
        assert f"Re-runs {', '.join([*(f'**{name}**' for name in readers), *later])}." in described, key
        shown = value if isinstance(value, str) else json.dumps(value).replace('"', "")
        assert f"`{shown}` in params.yaml" in described, key


def test_a_changed_dvc_yaml_changes_the_page(project):
    before = entry(parameters_text(project), "report.width")
    assert "Re-runs **report**." in before
    change(project / "dvc.yaml", "      - split\n", "      - split\n      - report.width\n")
    after = entry(parameters_text(project), "report.width")
    assert "Re-runs **validate**, **report**, train_phase1, train_phase2, evaluate, export." in after


def test_a_stage_that_no_longer_needs_another_does_not_rerun(project):
    assert "report" in entry(parameters_text(project), "export.opset")
    text = (project / "dvc.yaml").read_text(encoding="utf-8")
    head, report = text.split("  report:\n")
    report = report.replace("      - metrics/export.json\n", "", 1).replace("      - models/config.json\n", "", 1)
    (project / "dvc.yaml").write_text(f"{head}  report:\n{report}", encoding="utf-8")
    assert "Re-runs **export**." in entry(parameters_text(project), "export.opset")
    (line,) = (line for line in stages_text(project).splitlines() if line.startswith("| `export`"))
    assert line.endswith("| nothing |")


def test_values_are_those_of_the_files(project):
    change(project / "params.yaml", "  cls: 2.0 ", "  cls: 7.5 ")
    change(project / "presets/edge.yaml", "  cls: 2.0 ", "  cls: 3.5 ")
    said = entry(parameters_text(project), "loss.cls")
    assert "`7.5` in params.yaml, `2.0` in laptop, resnet50 and scratch, `3.5` in edge." in said


def test_a_value_for_each_dataset_is_one_value(project):
    each = "{segmentation: 0.5, detection: 0.5, classification: 0.0}"
    change(project / "params.yaml", "  vertical_flip: 0.0 ", f"  vertical_flip: {each} ")
    said = entry(parameters_text(project), "augment.vertical_flip")
    assert f"`{each}` in params.yaml, `0.0` in laptop" in said


def test_presets_are_compared_by_the_keys_in_which_they_differ(project):
    assert "`loss.cls`" not in presets_text(project) and "`model.backbone`" in presets_text(project)
    change(project / "presets/edge.yaml", "  cls: 2.0 ", "  cls: 3.5 ")
    assert "| [`loss.cls`](parameters.md#param-loss-cls) | 2.0 | 3.5 | 2.0 | 2.0 |" in presets_text(project)


def test_every_key_has_an_effect_and_a_kind():
    assert [key for key in KEYS if len(effect(key)) <= 10 or not allowed(key)] == []


def test_kinds_in_words():
    kinds = {
        "model.dropout": "number, at least 0, below 1",
        "model.fpn_channels": "whole number, 32 to 1\N{NO-BREAK SPACE}024, a multiple of 32",
        "seed": "whole number, 0 to 4\N{NO-BREAK SPACE}294\N{NO-BREAK SPACE}967\N{NO-BREAK SPACE}295",
        "train.grad_clip": "number, above 0, or `null`",
        "loss.box": "one of `smooth_l1`, `giou`",
        "tasks": "list of `segmentation`, `detection`, `classification`",
        "train.compile": "`true` or `false`",
    }
    assert {key: allowed(key) for key in kinds} == kinds


def test_a_key_without_a_description_is_named():
    with pytest.raises(KeyError, match="scenes"):
        effect("scenes")


def test_rooms_follow_the_layers_contract(project):
    order = layers(project)
    assert order[0] == ["cli"]
    assert ["page", "experiments"] in order
    assert order[-1] == ["core"]
    path = project / "pyproject.toml"
    path.write_text(path.read_text(encoding="utf-8").replace('"page | experiments"', '"page", "experiments"'))
    assert ["page"] in layers(project)


def test_marks_are_filled_and_others_refused():
    assert "| `training` |" in fill("# Rooms\n\n<!-- generated: rooms -->\n", ROOT)
    assert fill("a <!-- generated: rooms --> within a line", ROOT).startswith("a <!--")
    with pytest.raises(KeyError, match="kitchens"):
        fill("<!-- generated: kitchens -->", ROOT)
