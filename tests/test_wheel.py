"""The wheel has the metadata of a public package, its licence, and the files that are not code."""

import email
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BUILD = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    subprocess.run([sys.executable, "-c", BUILD, str(folder)], cwd=folder, check=True, capture_output=True)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as archive:
        yield archive


def test_metadata_names_licence_authors_and_topics(wheel):
    (name,) = (name for name in wheel.namelist() if name.endswith("/METADATA"))
    metadata = email.message_from_bytes(wheel.read(name))
    assert metadata["License-Expression"] == "Apache-2.0" and metadata["License-File"] == "LICENSE"
    assert metadata["Author"] and metadata["Keywords"] and metadata["Requires-Python"] == ">=3.11"
    assert "Topic :: Scientific/Engineering :: Image Recognition" in metadata.get_all("Classifier")


def test_presets_pages_and_licence_are_inside(wheel):
    names = set(wheel.namelist())
    presets = {f"panvision/presets/{path.name}" for path in (ROOT / "presets").iterdir()}
    assert presets | {"panvision/page/page.html", "panvision/report/page.css", "panvision/__main__.py"} <= names
    assert wheel.read("panvision/presets/edge.yaml") == (ROOT / "presets/edge.yaml").read_bytes()
    (licence,) = (name for name in names if name.endswith("licenses/LICENSE"))
    assert wheel.read(licence).lstrip().startswith(b"Apache License")
