"""README.md and the pages of docs/ agree with the code."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from dvc.cli.parser import get_main_parser
from PIL import Image

from panvision.config import Config
from panvision.core.params import load_params, override
from panvision.experiments.summary import summary
from panvision.model.checkpoint import save_checkpoint
from panvision.model.multitask import MultiTaskModel
from panvision.model.settings import ModelSettings
from tests.cli.shown import parsed
from tests.pipeline.scratch import leaves, read_yaml
from tests.tiny import write_onnx

ROOT = Path(__file__).parents[1]
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
}
BLOCKS = {
    name: re.findall(r"^```(\S*)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL) for name, text in PAGES.items()
}
# Of the indented blocks, without comments; continued lines are joined.
LINES = {
    name: [
        line.split("#")[0].strip()
        for kind, text in blocks
        if kind == ""
        for line in re.sub(r"\s*\\\n\s*", " ", text).splitlines()
    ]
    for name, blocks in BLOCKS.items()
}
PROGRAMS = ("python", "make")


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with a model, its configuration and images, under the names that the pages use."""
    torch.manual_seed(0)
    settings = ModelSettings(backbone="resnet10", weights="none", fpn_channels=32, head_convs=0, cls_hidden=8)
    model = MultiTaskModel(settings, image_size=64, det_classes=["pan"], cls_classes=["raw", "golden"])
    save_checkpoint(tmp_path / "models/best_model.pth", model)
    write_onnx(tmp_path / "models/panvision.onnx")
    Config().save(tmp_path / "models/config.json")
    (tmp_path / "photos").mkdir()
    for path in ("photo.jpg", "photos/a.jpg", "photos/b.jpg"):
        Image.fromarray(np.full((48, 64, 3), 120, np.uint8)).save(tmp_path / path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def snippets(name):
    return [text for kind, text in BLOCKS[name] if kind == "python"]


@pytest.mark.parametrize("name", [name for name in PAGES if snippets(name)])
def test_python_snippets_of_a_page_run(project, name):
    """Snippets run in their order: the later ones use what the first has loaded."""
    names: dict = {}
    for snippet in snippets(name):
        exec(compile(snippet, name, "exec"), names)  # noqa: S102 -- our own pages
    if "result" in names:
        assert names["result"]["segmentation"]["mask"].shape == (48, 64)
    if "results" in names:
        assert len(names["results"]) == 2
        assert (project / "outputs/predictions.json").is_file() and (project / "outputs/a_pred.png").is_file()
    if "reading" in names:
        assert names["reading"].result["segmentation"]["mask"].shape == (48, 64)
    assert {"result", "reading"} & set(names)


def test_the_metrics_are_the_present_ones():
    (table,) = (text for kind, text in BLOCKS["README.md"] if text.startswith("test split"))
    assert table.splitlines() == summary(ROOT).split("\n\n")[0].splitlines(), "copy them from `panvision summary`"


def commands(name: str, program: str) -> list[str]:
    return [line for line in LINES[name] if line.startswith(f"{program} ")]


@pytest.mark.parametrize("name", [name for name in PAGES if commands(name, "panvision") or commands(name, "dvc")])
def test_commands_on_a_page_can_be_parsed(name):
    for line in commands(name, "panvision"):
        parsed(shlex.split(line)[1:])
    for line in commands(name, "dvc"):
        # After two spaces comes the purpose of the command.
        assert get_main_parser().parse_args(shlex.split(re.split(r"  | [|] ", line)[0])[1:]).func, line


def test_scripts_and_targets_on_the_pages_exist():
    shown = {program: {line.split()[1] for name in PAGES for line in commands(name, program)} for program in PROGRAMS}
    scripts = {path.relative_to(ROOT).as_posix() for path in (ROOT / "stages").glob("*.py")}
    scripts -= {"stages/source.py"}  # which the others import
    scripts |= {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "benchmarks").glob("*.py")
        if 'if __name__ == "__main__"' in path.read_text(encoding="utf-8")
    }
    assert {path for path in shown["python"] if path.startswith(("stages/", "benchmarks/"))} == scripts
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    assert {"repro", "test"} <= shown["make"] <= targets


@pytest.mark.parametrize("preset", ["laptop", "resnet50", "edge", "scratch"])
def test_settings_that_are_shown_exist(preset):
    text = "\n".join(PAGES.values())
    # Of several values to try, the first.
    found = re.findall(r"-S '?([\w.]+=(?:\{[^}]*\}|[^\s,]+))", text)
    shown = [" ".join(setting.split()).strip("'`).") for setting in found]
    shown = [setting for setting in shown if not setting.startswith("KEY=")]
    assert len(shown) > 20
    Config.parse(override(load_params(ROOT / f"presets/{preset}.yaml"), shown))
    known = set(leaves(read_yaml(ROOT / f"presets/{preset}.yaml")))
    assert {setting.partition("=")[0] for setting in shown} <= known


@pytest.mark.parametrize("page", PAGES)
def test_links_of_a_page_lead_to_files_and_headings(page):
    """Links as a code host resolves them; for the site, Sphinx checks them."""
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", PAGES[page]):
        path, _, anchor = link.partition("#")
        target = ((ROOT / page).parent / path).resolve() if path else ROOT / page
        if "://" not in link and not (
            target.is_file() and (not anchor or anchor in anchors(target.relative_to(ROOT).as_posix()))
        ):
            broken.append(link)
    assert not broken


def anchors(name):
    """Return what a code host makes of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```$", "", PAGES[name], flags=re.M | re.S), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
