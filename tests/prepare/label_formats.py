"""The same labels, written in each format."""

import json
from pathlib import PurePosixPath
from xml.etree import ElementTree

# An image: file name, (width, height), objects; an object: class name, box x, y, width, height, or a polygon.


def touch(root, names):
    """Make empty images; readers do not open them."""
    for name in names:
        path = root / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def write_text(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")


def write_json(path, value):
    write_text(path, json.dumps(value))


def is_polygon(shape):
    return len(shape) != 4


def classes_of(images):
    return sorted({name for _, _, objects in images for name, _ in objects})


def write_coco(root, images, file="_annotations.coco.json"):
    classes = classes_of(images)
    shapes = [(number, name, shape) for number, (_, _, objects) in enumerate(images) for name, shape in objects]
    document = {
        "categories": [{"id": number, "name": name} for number, name in enumerate(classes)],
        "images": [
            {"id": number, "file_name": name, "width": width, "height": height}
            for number, (name, (width, height), _) in enumerate(images)
        ],
        "annotations": [
            {
                "id": number + 1,
                "image_id": image,
                "category_id": classes.index(name),
                **({"segmentation": [list(shape)]} if is_polygon(shape) else {"bbox": list(shape)}),
            }
            for number, (image, name, shape) in enumerate(shapes)
        ],
    }
    write_json(root / file, document)


def write_yolo(root, images):
    classes = classes_of(images)
    write_text(root / "data.yaml", f"names: {json.dumps(classes)}\nnc: {len(classes)}\n")
    for file, (width, height), objects in images:
        lines = []
        for name, shape in objects:
            if is_polygon(shape):
                values = [value / (width, height)[place % 2] for place, value in enumerate(shape)]
            else:
                x, y, w, h = shape
                values = [(x + w / 2) / width, (y + h / 2) / height, w / width, h / height]
            lines.append(" ".join([str(classes.index(name)), *map(repr, values)]))
        write_text((root / "labels" / file).with_suffix(".txt"), "\n".join(lines))


def element(parent, tag, text=None, **attributes):
    child = ElementTree.SubElement(parent, tag, {key: str(value) for key, value in attributes.items()})
    child.text = None if text is None else str(text)
    return child


def write_xml(path, root):
    write_text(path, ElementTree.tostring(root, encoding="unicode"))


def write_voc(root, images):
    for file, (width, height), objects in images:
        document = ElementTree.Element("annotation")
        size = element(document, "size")
        element(size, "width", width)
        element(size, "height", height)
        for name, shape in objects:
            item = element(document, "object")
            element(item, "name", name)
            if is_polygon(shape):
                outline = element(item, "polygon")
                for place, value in enumerate(shape):
                    element(outline, f"{'xy'[place % 2]}{place // 2 + 1}", repr(value))
            else:
                x, y, w, h = shape
                box = element(item, "bndbox")
                for tag, value in zip(("xmin", "ymin", "xmax", "ymax"), (x, y, x + w, y + h), strict=True):
                    element(box, tag, repr(value))
        write_xml((root / "Annotations" / file).with_suffix(".xml"), document)


def write_labelme(root, images):
    for file, (width, height), objects in images:
        shapes = []
        for name, shape in objects:
            if is_polygon(shape):
                points = [list(shape[place : place + 2]) for place in range(0, len(shape), 2)]
            else:
                x, y, w, h = shape
                points = [[x + w, y], [x, y + h]]
            kind = "polygon" if is_polygon(shape) else "rectangle"
            shapes.append({"label": name, "points": points, "shape_type": kind, "group_id": None})
        document = {"shapes": shapes, "imagePath": PurePosixPath(file).name, "imageData": "AAAA"}
        document |= {"imageWidth": width, "imageHeight": height}
        write_json((root / "images" / file).with_suffix(".json"), document)


def write_cvat(root, images):
    document = ElementTree.Element("annotations")
    element(document, "version", "1.1")
    labels = element(element(element(document, "meta"), "task"), "labels")
    for name in classes_of(images):
        element(element(labels, "label"), "name", name)
    for number, (file, (width, height), objects) in enumerate(images):
        image = element(document, "image", id=number, name=file, width=width, height=height)
        for name, shape in objects:
            if is_polygon(shape):
                pairs = [f"{shape[place]!r},{shape[place + 1]!r}" for place in range(0, len(shape), 2)]
                element(image, "polygon", label=name, points=";".join(pairs))
            else:
                x, y, w, h = shape
                element(image, "box", label=name, xtl=repr(x), ytl=repr(y), xbr=repr(x + w), ybr=repr(y + h))
    write_xml(root / "annotations.xml", document)


WRITERS = {"COCO": write_coco, "YOLO": write_yolo, "VOC": write_voc, "LabelMe": write_labelme, "CVAT": write_cvat}


def write_set(kind, root, images):
    """Images and their labels in one format."""
    touch(root, [file for file, _, _ in images])
    WRITERS[kind](root, images)
    return root


def pixel_boxes(reading, sizes):
    """Per image the class names and boxes x, y, width, height in pixels, also for readings in fractions."""
    found = {}
    for sample in reading.samples:
        width, height = sizes[sample.file] if sample.boxes.relative else (1, 1)
        found[sample.file] = [
            (reading.classes[label], [x * width, y * height, w * width, h * height])
            for label, (x, y, w, h) in zip(sample.boxes.labels, sample.boxes.xywh, strict=True)
        ]
    return found


def codes(reading):
    return sorted({(found.code, found.file) for found in reading.problems})


def reason(reading, code):
    """The reason of the only problem of a code."""
    (found,) = [found for found in reading.problems if found.code == code]
    return found.reason
