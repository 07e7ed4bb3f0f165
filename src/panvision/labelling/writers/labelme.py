"""LabelMe's JSON beside each image: rectangles, polygons, and the class as a flag of the image.

Format: https://github.com/wkentaro/labelme. A shape's confidence is its `description`.
"""

from typing import Any

from panvision.core.tasks import Dataset
from panvision.labelling.labels import Labels, Marked
from panvision.labelling.writers.writer import File, Writer, beside, json_bytes, pixels, sure
from panvision.prepare.formats.labelme import LABELME


def _each(task: Dataset, labels: Labels) -> list[File]:
    marked = () if task == "classification" else labels.marked(task)
    document = {
        "version": "5.5.0",
        "flags": {labels.label: True} if task == "classification" else {},
        "shapes": [shape for number, one in enumerate(marked) for shape in _shapes(one, number)],
        "imagePath": labels.file,
        "imageData": None,
        "imageHeight": labels.size[1],
        "imageWidth": labels.size[0],
    }
    return [(beside("images", labels, ".json"), json_bytes(document))]


def _shapes(one: Marked, number: int) -> list[dict[str, Any]]:
    """Return a rectangle, or a polygon for each part of one object."""
    common = {"label": one.name, "description": f"confidence {sure(one.confidence)}", "flags": {}}
    if not one.polygons:
        corners = [[pixels(one.box[0]), pixels(one.box[1])], [pixels(one.box[2]), pixels(one.box[3])]]
        return [{**common, "group_id": None, "shape_type": "rectangle", "points": corners}]
    group = number if len(one.polygons) > 1 else None
    return [
        {
            **common,
            "group_id": group,
            "shape_type": "polygon",
            "points": [[pixels(x), pixels(y)] for x, y in zip(polygon[0::2], polygon[1::2], strict=True)],
        }
        for polygon in one.polygons
    ]


WRITER = Writer(("segmentation", "detection", "classification"), LABELME.name, has_folders=False, each=_each)
