"""Pascal VOC's XML, one file per image; the confidence is an attribute, and outlines are in Roboflow's form."""

from xml.etree.ElementTree import Element

from panvision.core.tasks import Dataset
from panvision.labelling.labels import Labels, Marked
from panvision.labelling.writers.writer import File, Writer, beside, element, pixels, sure, xml_bytes
from panvision.prepare.formats.voc import VOC


def _each(task: Dataset, labels: Labels) -> list[File]:
    document = Element("annotation")
    element(document, "folder", WRITER.folder)
    element(document, "filename", labels.file)
    size = element(document, "size")
    for tag, value in zip(("width", "height", "depth"), (*labels.size, 3), strict=True):
        element(size, tag, value)
    for one in labels.marked(task):
        for polygon in one.polygons or ((),):
            _object(document, one, polygon)
    return [(beside("Annotations", labels, ".xml"), xml_bytes(document))]


def _object(document: Element, one: Marked, polygon: tuple[float, ...]) -> None:
    item = element(document, "object")
    element(item, "name", one.name)
    for tag in ("truncated", "difficult"):
        element(item, tag, 0)
    x, y = (polygon[0::2], polygon[1::2]) if polygon else (one.box[0::2], one.box[1::2])
    box = element(item, "bndbox")
    for tag, value in zip(("xmin", "ymin", "xmax", "ymax"), (min(x), min(y), max(x), max(y)), strict=True):
        element(box, tag, pixels(value))
    if polygon:
        outline = element(item, "polygon")
        for place, value in enumerate(polygon):
            element(outline, f"{'xy'[place % 2]}{place // 2 + 1}", pixels(value))
    attribute = element(element(item, "attributes"), "attribute")
    element(attribute, "name", "confidence")
    element(attribute, "value", sure(one.confidence))


WRITER = Writer(("segmentation", "detection"), VOC.name, folder="JPEGImages", each=_each)
