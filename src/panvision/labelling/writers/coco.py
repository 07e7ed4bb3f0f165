"""COCO JSON: boxes with their score, outlines as polygons. Format: https://cocodataset.org/#format-data."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from panvision.core.tasks import Dataset
from panvision.labelling.labels import Classes, Labels, Marked
from panvision.labelling.polygons import ring_area
from panvision.labelling.writers.writer import File, Writer, json_bytes, pixels, sure
from panvision.prepare.formats.coco import ANNOTATIONS, COCO


def _whole(task: Dataset, images: Sequence[Labels], classes: Classes) -> list[File]:
    numbers = {name: number for number, name in enumerate(classes.of(task), start=1)}
    marked = [(number, one) for number, labels in enumerate(images, start=1) for one in labels.marked(task)]
    document = {
        "info": {"description": "proposed by a model; correct before training"},
        "categories": [{"id": number, "name": name} for name, number in numbers.items()],
        "images": [
            {"id": number, "file_name": labels.file, "width": labels.size[0], "height": labels.size[1]}
            for number, labels in enumerate(images, start=1)
        ],
        "annotations": [
            {"id": identity, "image_id": image, "category_id": numbers[one.name], **_shape(one)}
            for identity, (image, one) in enumerate(marked, start=1)
        ],
    }
    return [(ANNOTATIONS, json_bytes(document))]


def _shape(one: Marked) -> dict[str, Any]:
    left, top, right, bottom = map(pixels, one.box)
    box = [left, top, pixels(right - left), pixels(bottom - top)]
    polygons = [list(map(pixels, polygon)) for polygon in one.polygons]
    return {
        "bbox": box,
        # COCO's is that of the segmentation; a hole is a part of its polygon.
        "area": pixels(sum(abs(ring_area(np.reshape(each, (-1, 2)))) for each in polygons) or box[2] * box[3]),
        "segmentation": polygons,
        "iscrowd": 0,
        "score": sure(one.confidence),
    }


def _merge(_path: str, new: bytes, old: bytes, exists: Callable[[str], bool]) -> bytes:
    document, before = json.loads(new), json.loads(old)
    images, annotations = document["images"], document["annotations"]
    numbers = {category["name"]: category["id"] for category in document["categories"]}
    names = {category["id"]: category["name"] for category in before["categories"]}
    listed = {image["file_name"] for image in images}
    for image in before["images"]:
        if image["file_name"] in listed or not exists(image["file_name"]):
            continue
        images.append({**image, "id": len(images) + 1})
        for one in (one for one in before["annotations"] if one["image_id"] == image["id"]):
            category = numbers.setdefault(names[one["category_id"]], len(numbers) + 1)
            place = {"id": len(annotations) + 1, "image_id": len(images), "category_id": category}
            annotations.append({**one, **place})
    document["categories"] = [{"id": number, "name": name} for name, number in numbers.items()]
    return json_bytes(document)


WRITER = Writer(("segmentation", "detection"), COCO.name, listing=ANNOTATIONS, whole=_whole, merge=_merge)
