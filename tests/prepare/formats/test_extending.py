"""A new label format is one module and one row of `FORMATS`: tried in a copy of the code."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).parents[3] / "src"

TOY = '''"""Boxes in a table: `file,class,x1,y1,x2,y2`, one file for all images of a part."""

import csv

from panvision.core.tasks import Dataset
from panvision.prepare.formats.annotated import Contents, Found, Shape, annotate
from panvision.prepare.formats.documents import Claim, Document, Format, Scan
from panvision.prepare.formats.parsing import read_text


def _find(scan: Scan) -> list[Document]:
    return [document for document in scan.documents[".csv"] if document.path.name == "boxes.csv"]


def _read(claims: list[Claim], task: Dataset) -> Found:
    found = Found()
    for claim in claims:
        (document,) = claim.documents
        text = read_text(document.path, claim.scan.root)
        if not isinstance(text, str):
            found.problems.append(text)
            continue
        shapes: dict[str, list[Shape]] = {}
        for number, row in enumerate(csv.DictReader(text.splitlines()), start=2):
            x1, y1, x2, y2 = (float(row[edge]) for edge in ("x1", "y1", "x2", "y2"))
            shape = Shape(row["class"], f"in line {number}", xywh=(x1, y1, x2 - x1, y2 - y1))
            shapes.setdefault(row["file"], []).append(shape)
        for name, own in shapes.items():
            path = claim.scan.locate(name, document.file)
            if not hasattr(path, "name"):
                found.problems.append(path)
                continue
            found.images.append(annotate(path, claim.scan, document, Contents(own)))
        listed = [image.file for image in found.images]
        found.problems.extend(claim.scan.unlisted(listed, f"is not listed in {document.file}"))
    found.classes.extend(sorted({shape.name for image in found.images for shape in image.shapes}))
    return found


TOY = Format("box table", (".csv",), per_image=False, find=_find, read=_read)
'''
ROW = "FORMATS: tuple[Format, ...] = (COCO, YOLO, VOC, LABELME, CVAT)"
SCRIPT = """
import json, sys
from pathlib import Path
from panvision.prepare.formats.readers import read_set
reading = read_set("detection", Path(sys.argv[1]))
samples = [[sample.file, sample.boxes.xywh, sample.boxes.labels] for sample in reading.samples]
print(json.dumps([reading.classes, samples, [found.code for found in reading.problems]]))
"""


def read_detection(source, root):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, root],
        env=os.environ | {"PYTHONPATH": str(source)},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def test_a_format_is_one_module_and_one_row(tmp_path):
    root = tmp_path / "detection"
    (root / "images").mkdir(parents=True)
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        (root / "images" / name).touch()
    (root / "boxes.csv").write_text("file,class,x1,y1,x2,y2\na.jpg,pot,1,2,4,6\na.jpg,lid,0,0,5,5\nb.jpg,pot,1,1,3,3\n")
    assert read_detection(SOURCE, root) == [[], [], ["annotations_missing"]]
    copy = tmp_path / "src"
    shutil.copytree(SOURCE, copy, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    formats = copy / "panvision/prepare/formats"
    (formats / "toy.py").write_text(TOY)
    table = (formats / "readers.py").read_text()
    assert table.count(ROW) == 1
    row = f"from panvision.prepare.formats.toy import TOY\n{ROW[:-1]}, TOY)"
    (formats / "readers.py").write_text(table.replace(ROW, row))
    assert read_detection(copy, root) == [
        ["lid", "pot"],
        [["images/a.jpg", [[1, 2, 3, 4], [0, 0, 5, 5]], [1, 0]], ["images/b.jpg", [[1, 1, 2, 2]], [1]]],
        ["image_unlisted"],
    ]
