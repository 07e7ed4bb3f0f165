"""Known label formats that are not read, so that a message names them and the export to choose instead."""

import csv
import json
from collections.abc import Callable
from typing import Any, NamedTuple

from panvision.dataset.paths import relative
from panvision.dataset.problems import Problem, problem
from panvision.prepare.formats.documents import Scan
from panvision.prepare.formats.layout import list_folder
from panvision.prepare.formats.parsing import read_text

# Lines at the start of a text file that show its format.
_FEW_LINES = 3


class Unread(NamedTuple):
    """A format that is not read.

    Attributes:
        name: its name.
        export: the export of its tool to choose instead.
        is_json: True if a JSON value has this format.
    """

    name: str
    export: str
    is_json: Callable[[Any], bool]


def _has(value: object, *keys: str) -> bool:
    return isinstance(value, dict) and all(key in value for key in keys)


def _first(value: object) -> Any:
    """Return the first entry of a list, or the first value of an object."""
    values = value if isinstance(value, list) else list(value.values()) if isinstance(value, dict) else []
    return values[0] if values else None


def _in_first(key: str, *keys: str) -> Callable[[Any], bool]:
    """Return a test: the first entry below `key` has these keys."""
    return lambda value: _has(value, key) and _has(_first(value[key]), *keys)


UNREAD = (
    Unread(
        "VIA project",
        "COCO (in VIA: Annotation, Export Annotations (COCO format))",
        lambda value: _has(value, "_via_img_metadata") or (_has(_first(value), "filename", "regions")),
    ),
    Unread("VIA 3 project", "COCO", lambda value: _has(value, "project", "config", "metadata")),
    Unread(
        "VoTT",
        "Pascal VOC (in VoTT: Export Settings)",
        lambda value: _has(value, "asset", "regions") or (_has(value, "assets", "tags") and "images" not in value),
    ),
    Unread(
        "CreateML",
        "COCO",
        lambda value: isinstance(value, list) and _in_first("annotations", "coordinates")(_first(value)),
    ),
    Unread(
        "Darwin (V7)",
        "COCO",
        lambda value: (
            _has(value, "annotations", "item")
            or _in_first("annotations", "bounding_box")(value)
            or (_has(value, "annotations", "image") and _has(value["image"], "filename"))
        ),
    ),
    Unread(
        "Supervisely",
        "COCO or Pascal VOC (in Supervisely: Export to COCO)",
        lambda value: _in_first("objects", "classTitle")(value) or (_has(value, "objects", "size", "tags")),
    ),
    Unread("Datumaro", "COCO", lambda value: _has(value, "items", "categories")),
    Unread(
        "Label Studio JSON",
        "COCO, YOLO or Pascal VOC (in Label Studio: Export)",
        lambda value: (
            isinstance(value, list)
            and _has(_first(value), "id")
            and (_has(_first(value), "data") or _has(_first(value), "annotation_id") or _has(_first(value), "image"))
        ),
    ),
    Unread(
        "Labelbox",
        "COCO (with Labelbox's converter)",
        lambda value: _has(value, "data_row") or _has(_first(value), "data_row") or _has(_first(value), "Labeled Data"),
    ),
    Unread(
        "SageMaker Ground Truth", "COCO", lambda value: _has(value, "source-ref") or _has(_first(value), "source-ref")
    ),
)
# What a file's suffix or its first row of columns shows.
_TENSORFLOW = Unread("TensorFlow CSV", "COCO or Pascal VOC", lambda _: False)
_TABLES = (
    ({"filename", "class", "xmin", "ymin", "xmax", "ymax"}, _TENSORFLOW),
    ({"imageid", "labelname", "xmin", "xmax"}, Unread("Open Images CSV", "COCO", lambda _: False)),
    ({"filename", "region_shape_attributes"}, Unread("VIA CSV", "COCO", lambda _: False)),
)
_SUFFIXES = {
    ".tfrecord": Unread("TFRecord", "COCO or Pascal VOC", lambda _: False),
    ".vott": UNREAD[2],
    ".manifest": UNREAD[-1],
}
UNREAD_NAMES = (*(one.name for one in UNREAD), *(one.name for _, one in _TABLES), _SUFFIXES[".tfrecord"].name)


def find_unread(scan: Scan) -> Problem | None:
    """Return the problem of a part whose annotations have a known format that is not read; None if there are none."""
    for document in scan.documents.get(".json", []):
        if kind := next((one for one in UNREAD if one.is_json(document.content)), None):
            return _problem(document.file, kind)
    folders = dict.fromkeys((scan.part.images, scan.part.folder, scan.root))
    for path in (path for folder in folders for path in list_folder(folder, scan.root).files):
        kind = _SUFFIXES.get(path.suffix.lower())
        if path.suffix.lower() in (".csv", ".txt", ".ndjson", ".jsonl"):
            content = read_text(path, scan.root)
            kind = _kind_of_text(content) if isinstance(content, str) else None
        if kind:
            return _problem(relative(path, scan.root), kind)
    return None


def _kind_of_text(content: str) -> Unread | None:
    """Return the format of a table, or of JSON line by line."""
    lines = content.splitlines()[:_FEW_LINES]
    if not lines:
        return None
    if lines[0].startswith("{"):
        try:
            value = json.loads(lines[0])
        except (ValueError, RecursionError):
            return None
        return next((one for one in UNREAD if one.is_json(value)), None)
    try:
        header = {cell.strip().strip("#").lower() for cell in next(csv.reader(lines))}
        rows = list(csv.reader(lines))
    except (csv.Error, StopIteration):
        return None
    known = next((kind for columns, kind in _TABLES if columns <= header), None)
    # RetinaNet's table has no header: path, x1, y1, x2, y2, class.
    plain = all(
        len(row) == 6 and all(cell.strip().lstrip("-").replace(".", "").isdecimal() for cell in row[1:5])
        for row in rows
    )
    return known or (_TENSORFLOW if plain else None)


def _problem(file: str, kind: Unread) -> Problem:
    return problem("annotations_unread", file, f"is {kind.name}, which is not read; export as {kind.export}")
