"""Pascal VOC's XML, one file per image, as labelImg, CVAT and Roboflow write it.

Format: The PASCAL Visual Object Classes Challenge 2012 Development Kit, section 6. The file is beside its image, or in
`Annotations/` with the images in `JPEGImages/`. It belongs to the image with its name, or else to the one that its
`filename` names. Coordinates count from 0, as the tools write them; VOC's own annotations count from 1, which puts
their boxes one pixel to the right and down.
"""

from xml.etree.ElementTree import Element

from panvision.core.tasks import Dataset
from panvision.dataset.problems import Problem, problem
from panvision.prepare.formats.annotated import Contents, Found, Shape, read_paired
from panvision.prepare.formats.documents import Claim, Document, Format, Scan
from panvision.prepare.formats.outlines import Polygon, check_polygon
from panvision.prepare.formats.parsing import is_name, stated_size, to_float
from panvision.prepare.formats.runlengths import OutlineError


def _find(scan: Scan) -> list[Document]:
    """Pick XML files whose root is `annotation`, and unreadable ones."""
    return [
        document
        for document in scan.documents[".xml"]
        if (isinstance(document.content, Element) and document.content.tag == "annotation")
        or (document.fault and document.path.name != "annotations.xml")
    ]


def _read(claims: list[Claim], _task: Dataset) -> Found:
    return read_paired(claims, _file_name, _contents, by_name=False)


def _contents(document: Document) -> Contents:
    shapes, faults = _shapes(document)
    size = document.content.find("size")
    stated = None if size is None else stated_size(size.findtext("width"), size.findtext("height"))
    return Contents(shapes, stated, faults)


def _file_name(document: Document) -> str:
    return str(document.content.findtext("filename") or "")


def _shapes(document: Document) -> tuple[list[Shape], list[Problem]]:
    shapes: list[Shape] = []
    problems: list[Problem] = []
    for number, item in enumerate(document.content.iterfind("object"), start=1):
        name = (item.findtext("name") or "").strip()
        box = item.find("bndbox")
        edges = None if box is None else [to_float(box.findtext(tag)) for tag in ("xmin", "ymin", "xmax", "ymax")]
        if not is_name(name):
            problems.append(problem("annotation_broken", document.file, f"object {number} has no name"))
            continue
        xywh = None if edges is None else (edges[0], edges[1], edges[2] - edges[0], edges[3] - edges[1])
        try:
            shapes.append(Shape(name, str(number), xywh, _polygons(item)))
        except OutlineError as error:
            shapes.append(Shape(name, str(number), xywh, fault=str(error)))
    return shapes, problems


def _polygons(item: Element) -> tuple[Polygon, ...]:
    """Read the outline that Roboflow writes beside the box: elements x1, y1, x2, y2 and so on of a `polygon`.

    Raises:
        OutlineError: it cannot be used.
    """
    outline = item.find("polygon")
    if outline is None or not len(outline):
        return ()
    points = {child.tag: to_float(child.text) for child in outline}
    values = [points.get(f"{axis}{number}", float("nan")) for number in range(1, len(points) // 2 + 1) for axis in "xy"]
    return (check_polygon(values),)


VOC = Format("Pascal VOC XML", (".xml",), per_image=True, find=_find, read=_read)
