"""CVAT's XML, "CVAT for images 1.1": boxes, polygons and tags with an attribute `confidence`.

Format: https://docs.cvat.ai/docs/manual/advanced/xml_format/. Shapes have the source `auto`, like those of CVAT's own
models. Tagged images are in a folder per class too, which other tools read.
"""

from collections.abc import Callable, Sequence
from xml.etree.ElementTree import Element

from panvision.core.tasks import Dataset
from panvision.labelling.labels import Classes, Labels, Marked
from panvision.labelling.writers.writer import File, Writer, element, pixels, sure, xml_bytes
from panvision.prepare.formats.cvat import CVAT
from panvision.prepare.formats.parsing import parse_xml

_KINDS = {"segmentation": "polygon", "detection": "rectangle", "classification": "tag"}
_LABELS = "meta/task/labels"
_FILE = "annotations.xml"


def _whole(task: Dataset, images: Sequence[Labels], classes: Classes) -> list[File]:
    document = Element("annotations")
    element(document, "version", "1.1")
    known = element(element(element(document, "meta"), "task"), "labels")
    # A person may have put an image into the folder of a class that the model lacks.
    chosen = (labels.label for labels in images if task == "classification")
    for name in dict.fromkeys([*classes.of(task), *chosen]):
        label = element(known, "label")
        element(label, "name", name)
        element(label, "type", _KINDS[task])
        attribute = element(element(label, "attributes"), "attribute")
        for key, text in (("name", "confidence"), ("mutable", "False"), ("input_type", "text"), ("values", "")):
            element(attribute, key, text)
    for number, labels in enumerate(images):
        name = WRITER.image(task, labels).removeprefix("images/")
        size = {"width": labels.size[0], "height": labels.size[1]}
        image = element(document, "image", id=number, name=name, **size)
        if task == "classification":
            tag = element(image, "tag", label=labels.label, source="auto")
            element(tag, "attribute", sure(labels.confidence), name="confidence")
        else:
            for one in labels.marked(task):
                _add(image, one)
    return [(_FILE, xml_bytes(document))]


def _merge(_path: str, new: bytes, old: bytes, exists: Callable[[str], bool]) -> bytes:
    document, before = parse_xml(new), parse_xml(old)
    listed = {image.get("name") for image in document.iterfind("image")}
    images = [image for image in before.iterfind("image") if image.get("name") not in listed]
    for number, image in enumerate((each for each in images if exists(each.get("name", ""))), start=len(listed)):
        image.set("id", str(number))
        document.append(image)
    known = document.find(_LABELS)
    names = {name.text for name in document.iterfind(f"{_LABELS}/label/name")}
    if known is not None:
        known.extend(label for label in before.iterfind(f"{_LABELS}/label") if label.findtext("name") not in names)
    return xml_bytes(document)


def _add(image: Element, one: Marked) -> None:
    """Add a box, or a polygon for each part of one object."""
    common = {"label": one.name, "source": "auto", "occluded": 0, "z_order": 0}
    edges: dict[str, object] = dict(zip(("xtl", "ytl", "xbr", "ybr"), map(pixels, one.box), strict=True))
    places: list[dict[str, object]] = [
        {"points": ";".join(f"{pixels(x)},{pixels(y)}" for x, y in zip(polygon[0::2], polygon[1::2], strict=True))}
        for polygon in one.polygons
    ]
    for place in places or [edges]:
        shape = element(image, "polygon" if places else "box", None, **common, **place)
        element(shape, "attribute", sure(one.confidence), name="confidence")


WRITER = Writer(("segmentation", "detection", "classification"), CVAT.name, listing=_FILE, whole=_whole, merge=_merge)
