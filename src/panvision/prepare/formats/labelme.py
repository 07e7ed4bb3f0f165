"""LabelMe's JSON, one file per image.

Format: https://github.com/wkentaro/labelme; `labelme/utils/shape.py` defines the shapes. The file is beside its image
or in `annotations/`. It belongs to the image that its `imagePath` names, or else to the one with its name. Shapes of
one class with one `group_id` are parts of one object. Lines and points are neither boxes nor outlines, and are
reported.
"""

import base64
import binascii
import io
from collections import defaultdict
from math import floor, hypot
from typing import Any

from PIL import Image

from panvision.core.tasks import Dataset
from panvision.dataset.problems import Problem, problem
from panvision.photos.pixels import ImageError, decode_errors, image_to_rgb
from panvision.prepare.formats.annotated import Contents, Found, Shape, Size, read_paired
from panvision.prepare.formats.documents import Claim, Document, Format, Scan
from panvision.prepare.formats.layout import RunLengths
from panvision.prepare.formats.outlines import Polygon, check_polygon, ellipse_polygon, outline_box, rectangle_polygon
from panvision.prepare.formats.parsing import is_name, stated_size
from panvision.prepare.formats.runlengths import OutlineError, encode_run_lengths

# Rotated rectangles have four corners; other tools of this format write plain ones that way, too.
_POLYGONS = frozenset({"polygon", "rotation", "oriented_rectangle"})


def _find(scan: Scan) -> list[Document]:
    """Pick JSON files with `shapes`, and unreadable ones with an image's name."""
    return [
        document
        for document in scan.documents[".json"]
        if (isinstance(document.content, dict) and "shapes" in document.content)
        or (document.fault and scan.own_images(document))
    ]


def _read(claims: list[Claim], _task: Dataset) -> Found:
    return read_paired(claims, _image_name, _contents, by_name=True)


def _contents(document: Document) -> Contents:
    size = stated_size(document.content.get("imageWidth"), document.content.get("imageHeight"))
    shapes, faults = _shapes(document, size)
    return Contents(shapes, size, faults)


def _image_name(document: Document) -> str:
    name = document.content.get("imagePath")
    return name if isinstance(name, str) else ""


def _shapes(document: Document, size: Size | None) -> tuple[list[Shape], list[Problem]]:
    given = document.content["shapes"]
    if not isinstance(given, list):
        return [], [problem("annotations_broken", document.file, "'shapes' is not a list")]
    shapes: list[tuple[Shape, object]] = []
    problems: list[Problem] = []
    for number, entry in enumerate(given):
        if not isinstance(entry, dict) or not is_name(entry.get("label")):
            problems.append(problem("annotation_broken", document.file, f"shape {number} has no label"))
            continue
        kind = entry.get("shape_type") or "polygon"
        if kind not in (*_POLYGONS, "rectangle", "circle", "mask"):
            reason = f"shape {number} is a {str(kind)[:40]!r}: neither a box nor an outline"
            problems.append(problem("annotation_broken", document.file, reason))
            continue
        shapes.append((_shape(entry, str(kind), str(number), size), entry.get("group_id")))
    return _joined(shapes), problems


def _shape(entry: dict[str, Any], kind: str, call: str, size: Size | None) -> Shape:
    name = str(entry["label"])
    try:
        points = _points(entry.get("points"), kind)
        if kind in _POLYGONS:
            return Shape(name, call, polygons=(check_polygon(points),))
        if kind == "circle":
            (x, y, edge_x, edge_y) = points
            radius = hypot(edge_x - x, edge_y - y)
            return Shape(name, call, polygons=(check_polygon(ellipse_polygon((x, y), (radius, radius))),))
        left, top, width, height = outline_box((points,))
        if kind == "rectangle":
            corners = rectangle_polygon((left, top, left + width, top + height))
            return Shape(name, call, (left, top, width, height), (corners,))
        # The points of a mask are its first and its last pixel.
        box = (float(floor(left)), float(floor(top)), floor(width) + 1.0, floor(height) + 1.0)
        try:
            return Shape(name, call, box, run_lengths=_mask(entry.get("mask"), floor(left), floor(top), size))
        except OutlineError as error:
            return Shape(name, call, box, fault=str(error))
    except OutlineError as error:
        return Shape(name, call, fault=str(error))


def _points(points: object, kind: str) -> Polygon:
    """Return the points of a shape as x1, y1, x2, y2, …: two points, or those of a polygon.

    Raises:
        OutlineError: too few, too many, or not finite.
    """
    pairs = points if isinstance(points, list) else []
    values = [value for pair in pairs for value in (pair if isinstance(pair, list) and len(pair) == 2 else [None])]
    if kind in _POLYGONS or (kind == "rectangle" and len(pairs) == 4):
        return check_polygon(values)
    if len(pairs) != 2:
        raise OutlineError(f"a {kind} has two points, not {len(pairs)}")
    # Repeat one of them: a polygon has at least three points.
    return check_polygon([*values, *values[:2]])[:4]


def _mask(text: object, left: int, top: int, size: Size | None) -> RunLengths:
    """Read the mask that LabelMe's AI draws: a PNG of the part of the image that begins at (left, top).

    Raises:
        OutlineError: it cannot be used.
    """
    if not isinstance(text, str) or size is None:
        raise OutlineError("its mask is missing, or imageWidth and imageHeight are")
    try:
        content = base64.b64decode(text, validate=True)
        with decode_errors("its mask"), Image.open(io.BytesIO(content)) as image:
            crop = image_to_rgb(image, name="its mask")[:, :, 0] > 0
    except (ImageError, binascii.Error, ValueError) as error:
        raise OutlineError(str(error)) from error
    return encode_run_lengths(crop, left, top, (int(size[1]), int(size[0])))


def _joined(shapes: list[tuple[Shape, object]]) -> list[Shape]:
    """Join shapes with polygons by class and group."""
    objects: dict[tuple[object, ...], list[Shape]] = defaultdict(list)
    for number, (shape, group) in enumerate(shapes):
        is_part = shape.polygons and isinstance(group, (int, str))
        objects[(shape.name, group) if is_part else (number,)].append(shape)
    return [
        parts[0]
        if len(parts) == 1
        else Shape(parts[0].name, parts[0].id, polygons=tuple(polygon for part in parts for polygon in part.polygons))
        for parts in objects.values()
    ]


LABELME = Format("LabelMe JSON", (".json",), per_image=True, find=_find, read=_read)
