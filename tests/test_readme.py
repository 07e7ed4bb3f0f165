"""What the README says is so."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from panvision.cli.main import build_parser, underscored
from panvision.config import Config
from panvision.model.checkpoint import save_checkpoint
from panvision.model.multitask import MultiTaskModel
from panvision.model.settings import ModelSettings
from panvision.params import load_params, override
from tests.pipeline.scratch import leaves, read_yaml

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
LINES = [line.split("#")[0].strip() for kind, text in BLOCKS if kind == "" for line in text.splitlines()]


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with a model, its configuration and photos, under the names that the README uses."""
    torch.manual_seed(0)
    settings = ModelSettings(backbone="resnet10", weights="none", fpn_channels=32, head_convs=0, cls_hidden=8)
    model = MultiTaskModel(settings, image_size=64, det_classes=["pan"], cls_classes=["raw", "golden"])
    save_checkpoint(tmp_path / "models/best_model.pth", model)
    Config().save(tmp_path / "models/config.json")
    (tmp_path / "photos").mkdir()
    for path in ("photo.jpg", "photos/a.jpg", "photos/b.jpg"):
        Image.fromarray(np.full((48, 64, 3), 120, np.uint8)).save(tmp_path / path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_python_snippets_run(project):
    """One after the other: the later ones use what the first has loaded."""
    names: dict = {}
    for snippet in (text for kind, text in BLOCKS if kind == "python"):
        exec(compile(snippet, "README.md", "exec"), names)  # noqa: S102 -- our own README
    assert names["result"]["segmentation"]["mask"].shape == (48, 64)
    assert len(names["results"]) == 2
    assert names["reading"].result["segmentation"]["mask"].shape == (48, 64)
    assert (project / "outputs/predictions.json").is_file() and (project / "outputs/a_pred.png").is_file()


def test_the_stage_scripts_are_those_that_exist():
    named = {line.split()[1] for line in LINES if line.startswith("python stages/")}
    there = {path.relative_to(ROOT).as_posix() for path in (ROOT / "stages").glob("*.py")}
    assert named == there - {"stages/source.py"}  # which the others import


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("panvision ")])
def test_commands_have_the_options_that_are_shown(line):
    arguments = underscored(shlex.split(line)[1:])
    assert build_parser(arguments).parse_args(arguments).run


@pytest.mark.parametrize("preset", ["laptop", "resnet50", "edge"])
def test_settings_that_are_shown_exist(preset):
    # Of several values to try, the first.
    shown = [setting.strip("'`).") for setting in re.findall(r"-S (\S+=[^\s,]+)", README)]
    assert shown
    Config.parse(override(load_params(ROOT / f"presets/{preset}.yaml"), shown))
    known = set(leaves(read_yaml(ROOT / f"presets/{preset}.yaml")))
    assert {setting.partition("=")[0] for setting in shown} <= known


@pytest.mark.parametrize("path", re.findall(r"!\[.*?\]\((.*?)\)", README))
def test_pictures_are_there(path):
    assert (ROOT / path).is_file()


def test_make_has_the_targets_that_are_shown():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    assert {line.split()[1] for line in LINES if line.startswith("make ")} <= targets
