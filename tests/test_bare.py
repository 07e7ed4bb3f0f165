"""An exported model runs on the base dependencies alone."""

import importlib.metadata
import json
import os
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from PIL import Image

from panvision.cli.main import cli
from tests.tiny import picture, write_onnx

ROOT = Path(__file__).parents[1]
API = """
import importlib.util, json, sys
from panvision.config import Config
from panvision.inference import infer_image, load_model, run_inference

model, info = load_model(sys.argv[1], Config(), Config().DEVICE)
result = infer_image(model, sys.argv[2] + "/a.png", info)
modules = sorted({name.partition(".")[0] for name, module in sys.modules.items() if getattr(module, "__spec__", None)})
print(json.dumps({"state": result["classification"]["class_name"], "boxes": result["detection"]["class_names"],
    "folder": len(run_inference(model, sys.argv[2], info)), "modules": modules,
    "torch": importlib.util.find_spec("torch") is not None}))
"""


def declared() -> dict[str, importlib.metadata.Distribution]:
    """Return the distributions of the base dependencies, and of theirs."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found: dict[str, importlib.metadata.Distribution] = {}
    ahead = list(project["dependencies"])
    while ahead:
        requirement = Requirement(ahead.pop())
        needed = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if needed and requirement.name not in found:
            found[requirement.name] = importlib.metadata.distribution(requirement.name)
            ahead += found[requirement.name].requires or []
    return found


def top_level(distribution: importlib.metadata.Distribution) -> set[str]:
    """Return the files and folders of a distribution directly in site-packages."""
    names = {file.parts[0] for file in distribution.files or ()}
    return {name for name in names if name not in {"..", "__pycache__"}}


@pytest.fixture(scope="module")
def bare(tmp_path_factory) -> Path:
    """The Python of a virtual environment with links to the declared packages and to panvision alone."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder / "venv", with_pip=False, symlinks=True)
    (site,) = (folder / "venv").glob("[Ll]ib/python*/site-packages")
    for distribution in declared().values():
        for name in top_level(distribution):
            if not (site / name).exists():  # `google` belongs to several
                (site / name).symlink_to(distribution.locate_file(name))
    (site / "panvision").symlink_to(ROOT / "src/panvision")
    return folder / "venv/bin/python"


@pytest.fixture
def arguments(tmp_path) -> tuple[str, str]:
    (tmp_path / "in").mkdir()
    Image.fromarray(picture()).save(tmp_path / "in/a.png")
    return str(write_onnx(tmp_path / "m.onnx")), str(tmp_path / "in")


@pytest.fixture
def run(bare, tmp_path):
    """Runs the bare Python with a home folder in which nothing may be left."""
    home = tmp_path / "home"
    home.mkdir()

    def runner(*arguments: object, code: int = 0) -> str:
        env = {"HOME": str(home), "TMPDIR": str(home), "PATH": os.environ["PATH"]}
        command = [str(bare), "-I", *map(str, arguments)]
        done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr
        # ONNX Runtime's telemetry keeps an identifier there.
        assert not list(home.iterdir())
        return done.stderr if code else done.stdout

    return runner


def test_api_imports_nothing_else(run, arguments) -> None:
    found = json.loads(run("-c", API, *arguments))
    assert (found["state"], found["boxes"], found["folder"], found["torch"]) == ("frozen", ["lid"], 1, False)
    ours = {name.removesuffix(".py") for one in declared().values() for name in top_level(one)} | {"panvision"}
    assert {"numpy", "onnxruntime", "PIL", "pydantic", "yaml"} <= ours
    # Some systems' Python has its own sitecustomize.
    others = set(found["modules"]) - ours - set(sys.stdlib_module_names) - {"sitecustomize"}
    assert not {name for name in others if not name.startswith("_")}


def test_predict_a_folder(run, arguments, tmp_path) -> None:
    model, photos = arguments
    command = ("predict", "--checkpoint", model, "--input_dir", photos, "--output_dir", tmp_path / "out", "--visualize")
    said = run("-m", "panvision.cli.main", *command)
    assert "a.png: frozen 98%, 1 box" in said
    (image,) = json.loads((tmp_path / "out/predictions.json").read_text())["images"]
    assert image["detection"]["class_names"] == ["lid"]
    assert (tmp_path / "out/a_pred.png").is_file() and (tmp_path / "out/a_mask.png").is_file()


def test_prelabel_and_select_a_folder(run, arguments, tmp_path):
    model, photos = arguments
    said = run("-m", "panvision.cli.main", "prelabel", model, photos, "--to", "coco", "--into", tmp_path / "labels")
    assert "boxes: 1 lid" in said and (tmp_path / "labels/detection/_annotations.coco.json").is_file()
    said = run("-m", "panvision.cli.main", "select", model, photos, "--into", tmp_path / "chosen")
    assert "1 of 1 images selected" in said and (tmp_path / "chosen/selection.html").is_file()


def test_completion_and_help(run):
    assert "complete -o" in run("-m", "panvision.cli.main", "completion", "bash")
    code = "from panvision.cli.main import cli, main\nfor name in cli.summaries: main([name, '--help'])"
    assert run("-c", code).count("exit codes:") == len(cli.summaries)


@pytest.mark.parametrize(
    ("command", "remedy"),
    [
        (("watch", "0"), "'.[video]"),
        (("compare", "HEAD"), "'.[train]"),
        (("baselines",), "'.[train]"),
        (("train", ".", "--set", "model.weights=none"), "'.[train]"),
        (("benchmark", "m.pth"), "'.[train]"),
        (("validate", ".", "--html", "data.html"), "pip install jinja2"),
    ],
)
def test_a_missing_package_is_named(run, arguments, tmp_path, command, remedy):
    (tmp_path / "m.pth").touch()
    model = ("--checkpoint", arguments[0]) if command[0] == "watch" else ()
    said = run("-m", "panvision.cli.main", *command, *model, code=2 if command[0] == "validate" else 1)
    assert remedy in said and said.startswith(f"panvision {command[0]}: ") and len(said.splitlines()) == 1
