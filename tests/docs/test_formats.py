"""docs/files.md names the content of the files."""

import json
import re

import pytest

from panvision.core.tasks import TASKS
from panvision.dataset.packed import BOX_COLUMNS, SPLIT_COLUMNS
from panvision.dataset.problems import COLUMNS
from panvision.export.ship import TRAINED_SECTIONS
from panvision.model import checkpoint
from panvision.prepare.load import INDEX_COLUMNS, LABEL_COLUMNS
from tests.pipeline.scratch import ROOT
from tests.tiny import INFO

PAGE = (ROOT / "docs/files.md").read_text(encoding="utf-8")


def part(heading):
    """Return the text below a heading, up to the next one."""
    _, found, text = PAGE.partition(f"{heading}\n")
    assert found
    return re.split(r"^##", text, maxsplit=1, flags=re.MULTILINE)[0]


def named(text):
    return set(re.findall(r"`([^`]+)`", text))


@pytest.mark.parametrize(
    ("heading", "names"),
    [
        ("### ONNX, `panvision.onnx` and `panvision.int8.onnx`", json.loads(INFO.to_metadata())),
        (
            "### ONNX, `panvision.onnx` and `panvision.int8.onnx`",
            [name for spec in TASKS.values() for name in spec.outputs],
        ),
        ("### Checkpoint, `best_model.pth`", TRAINED_SECTIONS),
        ("## Packed sets, `build/prepared/<task>/`", INDEX_COLUMNS),
        ("## Packed sets, `build/prepared/<task>/`", [name for task in LABEL_COLUMNS.values() for name in task]),
        ("## Packed sets, `build/prepared/<task>/`", BOX_COLUMNS),
        ("## Splits, `build/splits.csv` and `data/pins.csv`", SPLIT_COLUMNS),
        ("## Problems, `build/problems.csv`", COLUMNS),
    ],
)
def test_every_name_is_documented(heading, names):
    assert set(names) <= named(part(heading))


def test_versions_are_the_present_ones():
    assert f"| `version` | {checkpoint.VERSION};" in part("### Checkpoint, `best_model.pth`")
    assert f"| `version` | {json.loads(INFO.to_metadata())['version']} |" in PAGE
