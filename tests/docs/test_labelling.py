"""Every command of docs/labelling.md runs."""

import re
import shlex

import numpy as np
import pytest
from PIL import Image

from panvision.cli.main import main
from panvision.labelling.writers import WRITERS
from panvision.monitor.video import VideoFile
from tests.pipeline.scratch import ROOT
from tests.tiny import picture, write_onnx

PAGE = (ROOT / "docs/labelling.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^panvision .*$", PAGE, flags=re.MULTILINE)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with models, photos and a clip, under the names that the page uses."""
    (tmp_path / "models").mkdir()
    write_onnx(tmp_path / "models/panvision.onnx")
    (tmp_path / "photos/detection").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in ("a.jpg", "b.jpg", "detection/c.jpg"):
        Image.fromarray(rng.integers(0, 255, (48, 64, 3), dtype=np.uint8)).save(tmp_path / "photos" / name)
    with VideoFile(tmp_path / "clip.mp4", 10.0) as video:
        for number in range(10):
            video.write(picture(), number / 10)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_run(project, line, capsys):
    # The folds of the page are ONNX files here: a checkpoint would need PyTorch.
    words = shlex.split(line.replace("models/best_model.pth", "models/panvision.onnx"))
    # A folder among the photos is named as left out: exit code 3.
    assert main(words[1:]) in (0, 3), capsys.readouterr().err


def test_the_page_has_commands_and_every_format():
    assert {line.split()[1] for line in COMMANDS} == {"predict", "select", "prelabel", "watch"}
    assert set(re.findall(r"^\| `(\w+)` \|", PAGE, flags=re.MULTILINE)) == set(WRITERS)
