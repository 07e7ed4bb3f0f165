import json
import math
import tempfile
import time
from pathlib import Path

from hypothesis import strategies as st
from PIL import Image

from panvision.dataset.problems import CATALOGUE, describe, read_problems, write_problems
from panvision.photos.settings import DataSettings
from panvision.prepare.formats.readers import read_set
from panvision.prepare.load import load_sample
from tests.fuzz.fuzzing import ODD, damaged, fuzzed, mutated

SETTINGS = DataSettings(image_size=64, min_side=1)
FILE = "_annotations.coco.json"
DOCUMENT = {
    "info": {},
    "categories": [
        {"id": 0, "name": "root", "supercategory": "none"},
        {"id": 1, "name": "pot", "supercategory": "root"},
        {"id": 2, "name": "lid", "supercategory": "root"},
    ],
    "images": [
        {"id": 0, "file_name": "a.png", "width": 40, "height": 30},
        {"id": 1, "file_name": "b_png.rf.0123456789abcdef.png", "width": 30, "height": 40, "extra": {"name": "b.png"}},
    ],
    "annotations": [
        {"id": 1, "image_id": 0, "category_id": 1, "bbox": [1, 2, 30, 20], "segmentation": [[1, 1, 9, 1, 9, 9]]},
        {"id": 2, "image_id": 0, "category_id": 2, "bbox": [1.5, 2, 3, 4], "iscrowd": 0,
         "segmentation": {"size": [30, 40], "counts": [600, 90, 510]}},
        {"id": 3, "image_id": 1, "category_id": 2, "bbox": [5, 5, 9, 9],
         "segmentation": {"size": [40, 30], "counts": "Pi090`i0"}},
        {"id": 4, "image_id": 1, "category_id": 1, "bbox": [],
         "segmentation": [[0, 0, 5, 0, 5, 5, 0, 5], [1, 1, 2, 2, 3, 1]]},
    ],
}  # fmt: skip
RUN_LENGTHS = st.fixed_dictionaries(
    {"size": st.lists(ODD, min_size=2, max_size=2) | ODD, "counts": ODD | st.text("0PQo`io1")}
)


SCRATCH = tempfile.TemporaryDirectory(prefix="panvision-fuzz-")  # removed when the process ends


def root() -> Path:
    """A task's folder with two pictures."""
    folder = Path(SCRATCH.name) / "detection"
    folder.mkdir()
    for number, name in enumerate(("a.png", "b_png.rf.0123456789abcdef.png")):
        Image.new("RGB", (40, 30), (number * 90, 20, 30)).save(folder / name)
    return folder


ROOT = root()


def check(content: bytes) -> None:
    """Read any content of an annotation file as problems of the catalogue and samples that can be loaded."""
    (ROOT / FILE).write_bytes(content)
    for task in ("detection", "segmentation"):
        start = time.process_time()
        reading = read_set(task, ROOT)
        problems = list(reading.problems)
        for sample in reading.samples:
            loaded = load_sample(sample, ROOT, SETTINGS)
            problems += loaded.problems
            for box in loaded.boxes.xyxy.tolist() if loaded.boxes else ():
                assert all(math.isfinite(side) for side in box) and 0 <= box[0] < box[2] and 0 <= box[1] < box[3]
            assert loaded.full_mask is None or loaded.full_mask.max() <= 1
        assert all(found.code in CATALOGUE for found in problems)
        assert len(set(reading.classes)) == len(reading.classes)
        write_problems(ROOT.parent / f"{ROOT.name}.csv", problems)
        assert len(read_problems(ROOT.parent / f"{ROOT.name}.csv")) == len(set(problems))
        describe(problems).encode()
        assert time.process_time() - start < 5


@fuzzed(mutated(DOCUMENT), examples=30)
def test_documents_with_other_values(document):
    check(json.dumps(document).encode("utf-8", "surrogatepass"))


@fuzzed(damaged(json.dumps(DOCUMENT).encode()), examples=12)
def test_documents_with_other_bytes(content):
    check(content)


@fuzzed(st.lists(RUN_LENGTHS | st.lists(st.lists(st.floats(), max_size=9), max_size=3), max_size=4), examples=12)
def test_outlines(outlines):
    document = json.loads(json.dumps(DOCUMENT))
    for annotation, outline in zip(document["annotations"], outlines, strict=False):
        annotation["segmentation"] = outline
    check(json.dumps(document).encode("utf-8", "surrogatepass"))
