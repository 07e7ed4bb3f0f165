"""What docs/extending.md tells to do, done in a copy of the code: it trains, exports and answers."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/extending.md").read_text(encoding="utf-8")
pytestmark = pytest.mark.xdist_group("extending")
PARTS = ("A ResNet of another depth", "A head on an existing set")
# Both phases, the export and an answer of either file, as JSON.
TRIAL = """
import json, sys
from pathlib import Path
import numpy as np
from panvision.export.onnx_file import write_onnx
from panvision.export.parity import compare
from panvision.export.settings import ExportSettings
from panvision.inference import Predictor
from panvision.model.checkpoint import load_checkpoint
from panvision.training.phases import train_phase1, train_phase2
from panvision.training.settings import Phase2Settings
from tests.training.small import MODEL, config, small_sets

out = Path(sys.argv[1])
sets, settings = small_sets(), config(phase2=Phase2Settings(epochs=1), accumulate=2)
model = MODEL.model_copy(update={"backbone": "resnet14"})
train_phase1(sets, settings, model, checkpoint=out / "1.pth", curves=out / "1.csv")
train_phase2(sets, settings, start=out / "1.pth", checkpoint=out / "2.pth", curves=out / "2.csv")
trained = Predictor.load(out / "2.pth", "cpu")
write_onnx(out / "model.onnx", load_checkpoint(out / "2.pth")[0], trained.info, opset=18)
picture = np.array(sets.packed["segmentation"].images[0])
exported = Predictor.load(out / "model.onnx")
parity = compare(trained, exported, picture[None], checkpoint="2.pth").to_json(ExportSettings())
answers = [predictor.predict(picture) for predictor in (trained, exported)]
for answer in answers:
    answer["segmentation"]["mask"] = int(answer["segmentation"]["mask"].astype(bool).sum())
first, second = (load_checkpoint(out / name)[0] for name in ("1.pth", "2.pth"))
moved = not first.coverage.layer.weight.equal(second.coverage.layer.weight)
print(json.dumps({"backbone": second.settings.backbone, "moved": moved, "parity": parity, "answers": answers}))
"""


def changes(part):
    """Path, old text and new text of each diff below a heading of the page."""
    _, found, text = PAGE.partition(f"\n## {part}\n")
    assert found
    blocks = re.findall(r"^```diff\n--- (\S+)\n(.*?)^```", text.partition("\n## ")[0], flags=re.MULTILINE | re.DOTALL)
    return [(path, side(block, " -"), side(block, " +")) for path, block in blocks]


def side(block, signs):
    return "".join(f"{line[1:]}\n" for line in block.splitlines() if line[0] in signs)


@pytest.fixture(scope="module")
def extended(tmp_path_factory):
    """A folder with the changed code and what the trial left in it, and what it printed."""
    folder = tmp_path_factory.mktemp("extended")
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for path, old, new in (change for part in PARTS for change in changes(part)):
        text = (folder / path).read_text(encoding="utf-8")
        assert text.count(old) == 1, f"docs/extending.md, {path}: these lines stand there no longer:\n{old}"
        (folder / path).write_text(text.replace(old, new), encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": f"{folder / 'src'}{os.pathsep}{ROOT}", "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(
        [sys.executable, "-c", TRIAL, folder], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return folder, json.loads(ran.stdout.splitlines()[-1])


def test_the_changed_code_trains_exports_and_answers(extended):
    _, said = extended
    assert said["backbone"] == "resnet14"
    checkpoint, exported = (answer["segmentation"] for answer in said["answers"])
    assert checkpoint["mask"] == pytest.approx(exported["mask"], abs=4)
    assert 0 < checkpoint["coverage"] < 1
    assert said["parity"]["passed"] and 0 <= said["parity"]["coverage"] < 1e-3
    assert exported["coverage"] == pytest.approx(checkpoint["coverage"], abs=1e-4)


def test_the_new_head_is_trained_and_its_loss_recorded(extended):
    folder, said = extended
    assert said["moved"]
    with (folder / "2.csv").open() as stream:
        (row,) = csv.DictReader(stream)
    assert float(row["train_coverage"]) > 0 and float(row["val_coverage"]) > 0 and row["weight_coverage"] == "1"
