"""The import contracts of pyproject.toml hold, and the rooms without torch import without it."""

import os
import pkgutil
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import panvision

ROOT = Path(__file__).parents[1]
ROOMS_WITHOUT_TORCH = {"core", "photos", "dataset", "scenes", "prepare", "validate", "decoding", "scoring"}


def lint_imports(folder: Path) -> subprocess.CompletedProcess:
    # In a separate process: import-linter imports the package from the working directory.
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()", "--no-cache"]
    env = os.environ | {"PYTHONPATH": str(folder / "src")}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)


def modules_of(names: set[str]) -> list[str]:
    found = pkgutil.walk_packages(panvision.__path__, "panvision.", onerror=lambda name: None)
    return [module.name for module in found if module.name.split(".")[1] in names]


def run_without(missing: tuple[str, ...], modules: list[str]) -> subprocess.CompletedProcess:
    """Import modules in a fresh Python in which some packages cannot be imported."""
    code = f"import sys; sys.modules.update(dict.fromkeys({missing!r})); import {', '.join(modules)}"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_contracts_are_kept():
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("module", "line", "broken"),
    [
        ("core/params.py", "import json", None),
        ("core/params.py", "import panvision.scenes.settings", "Rooms import downwards only BROKEN"),
        ("scenes/settings.py", "import panvision.photos.settings", "Rooms import downwards only BROKEN"),
        ("training/settings.py", "import panvision.validate.settings", None),
        ("training/settings.py", "import panvision.evaluation.settings", "Rooms import downwards only BROKEN"),
        ("report/settings.py", "import panvision.export.settings", "Rooms import downwards only BROKEN"),
        ("inference/directory.py", "import panvision.monitor.masks", "Rooms import downwards only BROKEN"),
        ("monitor/watch.py", "import panvision.page.model", "Rooms import downwards only BROKEN"),
        ("export/settings.py", "import panvision.config", "Rooms import downwards only BROKEN"),
        ("photos/pixels.py", "import torch", "have no torch, not even through"),
        ("inference/results.py", "import cv2", "An exported model runs on numpy"),
        ("monitor/masks.py", "import cv2", "monitor.video alone imports OpenCV"),
        ("labelling/voting.py", "import cv2", "labelling has no torch and no OpenCV"),
        ("labelling/voting.py", "import panvision.monitor.masks", "Rooms import downwards only BROKEN"),
        ("page/view.py", "import cv2", "monitor.video alone imports OpenCV"),
    ],
)
def test_contracts_detect_a_forbidden_import(tmp_path, module, line, broken):
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with (tmp_path / "src/panvision" / module).open("a") as file:
        file.write(f"\n{line}\n")
    done = lint_imports(tmp_path)
    assert (done.returncode != 0) is (broken is not None)
    if broken:
        assert broken in " ".join(done.stdout.split())
        assert done.stdout.count("BROKEN") >= 1


@pytest.mark.parametrize("room", sorted(ROOMS_WITHOUT_TORCH))
def test_rooms_without_torch_import_without_it(room):
    modules = modules_of({room})
    assert modules
    done = run_without(("torch", "torchvision", "albumentations"), modules)
    assert done.returncode == 0, done.stderr


def test_the_onnx_path_imports_without_other_packages():
    missing = ("torch", "torchvision", "albumentations", "pydantic", "yaml", "pandas", "cv2", "matplotlib", "dvc")
    own = (
        ".torch_backend",
        ".layer_cam",
        ".inference.settings",
        ".monitor.video",
    )  # which need more, and are imported where they are used
    modules = [name for name in modules_of({"inference", "monitor"}) if not name.endswith(own)]
    done = run_without(missing, modules)
    assert done.returncode == 0, done.stderr


def test_labelling_imports_with_the_base_packages_alone():
    modules = ["panvision.cli.prelabel", "panvision.cli.select", "panvision.cli.watch", *modules_of({"labelling"})]
    assert "panvision.labelling.collect" in modules
    done = run_without(("torch", "torchvision", "albumentations", "pandas", "cv2", "matplotlib", "dvc"), modules)
    assert done.returncode == 0, done.stderr


def test_the_page_imports_with_the_base_packages_alone():
    modules = ["panvision.cli.page", *modules_of({"page"})]
    assert "panvision.page.server" in modules
    done = run_without(("torch", "torchvision", "albumentations", "pandas", "cv2", "matplotlib", "dvc"), modules)
    assert done.returncode == 0, done.stderr


def test_a_blocked_package_is_detected():
    assert "torch" in run_without(("torch",), ["panvision.model.backbones.base"]).stderr
