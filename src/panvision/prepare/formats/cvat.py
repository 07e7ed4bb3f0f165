"""CVAT's XML, "CVAT for images 1.1": one file for all images.

Format: https://docs.cvat.ai/docs/manual/advanced/xml_format/. A mask's `rle` counts pixels row by row within
`left`, `top`, `width`, `height`, background first. A box or an ellipse may have a `rotation` in degrees, clockwise,
about its centre. A shape with `outside="1"` (from the format for videos) marks an object that is not in the image, and
is skipped. Points, lines, cuboids and skeletons are neither boxes nor outlines, and are reported.
"""

from math import isfinite
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np

from panvision.core.tasks import Dataset
from panvision.dataset.paths import relative
from panvision.dataset.problems import Problem, problem
from panvision.prepare.formats.annotated import Annotated, Contents, Found, Shape, Size, annotate, unused_classes
from panvision.prepare.formats.documents import Claim, Document, Format, Scan
from panvision.prepare.formats.layout import RunLengths, split_name
from panvision.prepare.formats.outlines import Polygon, check_polygon, ellipse_polygon, rectangle_polygon
from panvision.prepare.formats.parsing import is_name, stated_size, to_float
from panvision.prepare.formats.runlengths import OutlineError, encode_run_lengths

_SHAPES = frozenset({"box", "polygon", "ellipse", "mask"})
_LABEL_TYPES = frozenset({"", "any", "rectangle", "bbox", "polygon", "ellipse", "mask"})
# A larger mask is not that of an image; its size is only a claim in the file.
_MOST_PIXELS = 100_000_000


def _find(scan: Scan) -> list[Document]:
    """Pick XML files whose root is `annotations`, and an unreadable `annotations.xml`."""
    return [
        document
        for document in scan.documents[".xml"]
        if (isinstance(document.content, Element) and document.content.tag == "annotations")
        or (document.fault and document.path.name == "annotations.xml")
    ]


def _read(claims: list[Claim], task: Dataset) -> Found:
    """Read every part's file; classes are in the order of their names."""
    found = Found()
    declared: dict[str, str] = {}
    used: set[str] = set()
    for claim in claims:
        (document,) = claim.documents
        root = document.content
        if document.fault:
            found.problems.append(document.fault)
            continue
        if root.find("track") is not None:
            reason = "is in the format 'CVAT for video'; export it as 'CVAT for images 1.1'"
            found.problems.append(problem("annotations_broken", document.file, reason))
            continue
        names = _declared(root)
        declared |= dict.fromkeys(names - set(declared), document.file)
        images, listed, problems = _images(document, claim.scan, names)
        found.images.extend(images)
        found.problems.extend(problems)
        found.problems.extend(claim.scan.unlisted(listed, f"is not listed in {document.file}"))
        used |= {item.get("label", "") for image in root.iterfind("image") for item in image}
    shapes = {shape.name for image in found.images for shape in image.shapes}
    found.classes.extend(sorted(shapes | set(declared)))
    if task == "detection":
        for name, file in sorted(declared.items()):
            found.problems.extend(unused_classes([name], used, file))
    return found


def _declared(root: Element) -> set[str]:
    """Return the names of the labels that mark boxes or outlines, if the export states them."""
    labels = [label for meta in root.iterfind("meta") for label in meta.iter("label")]
    names = {label.findtext("name") or "" for label in labels if (label.findtext("type") or "") in _LABEL_TYPES}
    return {name for name in names if is_name(name)}


def _images(document: Document, scan: Scan, names: set[str]) -> tuple[list[Annotated], set[str], list[Problem]]:
    """Return the file's images with their shapes, the files that it lists, and the problems."""
    images: list[Annotated] = []
    listed: set[str] = set()
    problems: list[Problem] = []
    entries = document.content.findall("image")
    # Subsets are splits only where all of them are.
    are_splits = all(split_name(entry.get("subset", "")) for entry in entries)
    for number, entry in enumerate(entries):
        name, subset = entry.get("name", ""), entry.get("subset", "")
        path: Path | Problem = (
            scan.locate(name, document.file, subset)
            if name
            else problem("annotations_incomplete", document.file, f"image {number} has no name")
        )
        if not isinstance(path, Path):
            problems.append(path)
            continue
        listed.add(relative(path, scan.root))
        size = stated_size(entry.get("width"), entry.get("height"))
        shapes, faults = _shapes(entry, document.file, names, size)
        problems += faults
        images.append(annotate(path, scan, document, Contents(shapes, size), subset=subset if are_splits else ""))
    return images, listed, problems


def _shapes(image: Element, file: str, names: set[str], size: Size | None) -> tuple[list[Shape], list[Problem]]:
    shapes: list[Shape] = []
    problems: list[Problem] = []
    for number, item in enumerate((child for child in image if child.tag != "tag"), start=1):
        call, name = f"{number} of {image.get('name')}", item.get("label", "")
        if item.get("outside") == "1":
            continue
        if item.tag not in _SHAPES or not is_name(name):
            reason = f"annotation {call} is a {item.tag[:40]!r}: neither a box nor an outline, or without a label"
            problems.append(problem("annotation_broken", file, reason))
        elif names and name not in names:
            reason = f"annotation {call}: the label {name!r} is not among the file's labels"
            problems.append(problem("annotation_unknown_category", file, reason))
        else:
            shapes.append(_shape(item, name, call, size))
    return shapes, problems


def _shape(item: Element, name: str, call: str, size: Size | None) -> Shape:
    xywh = None
    try:
        if item.tag == "mask":
            return Shape(name, call, run_lengths=_mask(item, size))
        degrees = _finite(item, "rotation")[0] if item.get("rotation") else 0.0
        if item.tag == "box" and not degrees:
            left, top, right, bottom = (to_float(item.get(key)) for key in ("xtl", "ytl", "xbr", "ybr"))
            xywh = (left, top, right - left, bottom - top)
        return Shape(name, call, xywh, (check_polygon(_polygon(item, degrees)),))
    except OutlineError as error:
        return Shape(name, call, xywh, fault=str(error))


def _polygon(item: Element, degrees: float) -> Polygon:
    if item.tag == "box":
        left, top, right, bottom = _finite(item, "xtl", "ytl", "xbr", "ybr")
        return rectangle_polygon((left, top, right, bottom), degrees)
    if item.tag == "ellipse":
        x, y, radius_x, radius_y = _finite(item, "cx", "cy", "rx", "ry")
        return ellipse_polygon((x, y), (radius_x, radius_y), degrees)
    pairs = [pair.split(",") for pair in item.get("points", "").split(";") if pair]
    return tuple(to_float(value) for pair in pairs for value in (pair if len(pair) == 2 else [""]))


def _finite(item: Element, *keys: str) -> list[float]:
    values = [to_float(item.get(key)) for key in keys]
    if not all(isfinite(value) for value in values):
        raise OutlineError(f"no finite number as {' or '.join(keys)}")
    return values


def _mask(item: Element, size: Size | None) -> RunLengths:
    """Return a mask's pixels as run lengths of the whole image.

    Raises:
        OutlineError: it cannot be used.
    """
    left, top, width, height = (int(value) for value in _finite(item, "left", "top", "width", "height"))
    counts = [to_float(count) for count in item.get("rle", "").split(",")]
    if size is None:
        raise OutlineError("its mask needs the image's width and height")
    if not 0 < width * height <= _MOST_PIXELS or not all(count.is_integer() and count >= 0 for count in counts):
        raise OutlineError("its mask has no usable size and counts")
    if width < 0 or sum(counts) != width * height:
        raise OutlineError(f"its run lengths do not make {width}x{height} pixels")
    crop = np.repeat(np.arange(len(counts)) % 2 == 1, np.array(counts, np.int64)).reshape(height, width)
    return encode_run_lengths(crop, left, top, (int(size[1]), int(size[0])))


CVAT = Format("CVAT XML", (".xml",), per_image=False, find=_find, read=_read)
