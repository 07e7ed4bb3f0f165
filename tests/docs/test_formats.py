"""docs/files.md names the content of the files."""

import json
import re

import pytest

from panvision.core.tasks import TASKS, output_names
from panvision.dataset.packed import BOX_COLUMNS, SPLIT_COLUMNS
from panvision.dataset.problems import COLUMNS
from panvision.decoding.decoder import AnswerLimits
from panvision.export.ship import TRAINED_SECTIONS
from panvision.model import checkpoint
from panvision.photos.pixels import SUFFIXES, UNREAD_SUFFIXES
from panvision.prepare.formats.readers import FORMATS
from panvision.prepare.formats.unread import UNREAD_NAMES
from panvision.prepare.load import INDEX_COLUMNS, LABEL_COLUMNS
from tests.pipeline.scratch import ROOT
from tests.tiny import INFO, LIMITED

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
        ("### ONNX, `panvision.onnx` and `panvision.int8.onnx`", json.loads(LIMITED.to_metadata())),
        ("### ONNX, `panvision.onnx` and `panvision.int8.onnx`", AnswerLimits._fields),
        (
            "### ONNX, `panvision.onnx` and `panvision.int8.onnx`",
            output_names(TASKS, optional=True),
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


@pytest.mark.parametrize("page", ["data.md", "faults.md"])
def test_every_format_of_labels_and_images_is_listed(page):
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    images = {"JPEG2000": "JPEG 2000", "WEBP": "WebP"}
    unread = {word.partition("'")[0].removeprefix("a ") for word in UNREAD_SUFFIXES.values()}
    names = [*(one.name.split()[0] for one in FORMATS), *UNREAD_NAMES, *(images.get(kind, kind) for kind in SUFFIXES)]
    assert [name for name in (*names, *unread) if name not in text] == []
