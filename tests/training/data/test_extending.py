"""A transform is one new file and one row of the table: made in a copy of the code, and run there."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TABLE = "panvision/training/data/transforms/__init__.py"
ROTATE = '''"""Rotate images by a quarter turn to the left."""

from dataclasses import replace

import numpy as np

from panvision.training.data.samples import Sample
from panvision.training.data.settings import AugmentSettings
from panvision.training.data.transforms.transform import GEOMETRY, Draw, Rng


class QuarterTurn:
    """A quarter turn to the left."""

    moves = GEOMETRY

    def __call__(self, sample: Sample, rng: Rng, draw: Draw) -> Sample:
        """Return the rotated sample."""
        image, mask, boxes = np.rot90(sample.image), sample.mask, sample.boxes
        if mask is not None:
            mask = np.rot90(mask)
        if boxes is not None:
            x1, y1, x2, y2 = boxes.T
            boxes = np.stack([y1, len(image) - x2, y2, len(image) - x1], axis=1)
        return replace(sample, image=image, mask=mask, boxes=boxes)


def quarter_turn(settings: AugmentSettings) -> QuarterTurn:
    """Return the quarter turn."""
    return QuarterTurn()
'''
WRAPPED = '''"""Rotate images."""

import albumentations as A

from panvision.training.data.settings import AugmentSettings
from panvision.training.data.transforms.transform import Wrapped


def quarter_turn(settings: AugmentSettings) -> Wrapped:
    """Return the rotation, without a rule for boxes."""
    return Wrapped(A.RandomRotate90(p=1.0))
'''
# One batch without and with the transform: image, mask and boxes must have moved together.
SCRIPT = """
import sys
import numpy as np
from panvision.core.tasks import DATASETS
from panvision.training.data import transforms
from panvision.training.data.stream import TrainingStream
from panvision.training.guards import TrainingError
from tests.training.data.packed_sets import STILL, packed_sets, paint

assert sys.argv[1] in transforms.__file__
try:
    batch = TrainingStream(packed_sets(), {d: np.arange(4) for d in DATASETS}, STILL, batch_size=4, seed=1)[0]
except TrainingError as error:
    sys.exit(str(error))
sets = packed_sets()
shown = {dataset: images.permute(0, 2, 3, 1).numpy() for dataset, images in batch.images.items()}
for dataset, images in shown.items():
    for image, row in zip(images, batch.rows[dataset]):
        assert (image == np.rot90(sets[dataset].images[row])).all()
for image, mask in zip(shown["segmentation"], batch.labels["segmentation"]["masks"][:, 0].numpy()):
    assert (image == paint(mask)).all()
for image, (box,) in zip(shown["detection"], batch.labels["detection"]["boxes"].tolist()):
    rows, columns = np.nonzero(image[..., 0] > 100)
    assert box == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
print("moved together")
"""


def run_with(tmp_path, module):
    """Run the script on a copy of the code with a new module and its row."""
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    table = tmp_path / "src" / TABLE
    (table.parent / "rotate.py").write_text(module)
    text = table.read_text()
    for old, new in {
        "mosaic, shadow\n": "mosaic, rotate, shadow\n",
        '    "color": color.jitter,\n': '    "color": color.jitter,\n    "rotate": rotate.quarter_turn,\n',
    }.items():
        assert old in text
        text = text.replace(old, new)
    table.write_text(text)
    paths = {"PYTHONPATH": os.pathsep.join([str(tmp_path / "src"), str(ROOT)])}
    command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    return subprocess.run(command, env={**os.environ, **paths}, capture_output=True, text=True, check=False)


def test_a_new_transform_is_one_file_and_one_row(tmp_path):
    ran = run_with(tmp_path, ROTATE)
    assert (ran.returncode, ran.stdout) == (0, "moved together\n"), ran.stderr


@pytest.mark.parametrize(
    "module", [ROTATE.replace("moves = GEOMETRY", 'moves = GEOMETRY - {"boxes"}'), WRAPPED], ids=["own", "wrapped"]
)
def test_a_new_transform_without_a_box_rule_is_refused(tmp_path, module):
    ran = run_with(tmp_path, module)
    assert ran.returncode == 1
    assert ran.stderr == 'transform rotate: does not say how it moves boxes; see docs/extending.md, "A transform"\n'
