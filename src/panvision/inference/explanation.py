"""Targets of an explanation, and its activation maps in the pixels of the image."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, NotRequired, TypedDict

from panvision.decoding.decoder import FloatArray
from panvision.photos.heat import resize_heat

# Boxes of an image that are explained, best first: each costs another pass through the network.
MOST_BOXES = 5


class ClassTarget(NamedTuple):
    """A class label by its index: its probability is explained."""

    label: int


class BoxTarget(NamedTuple):
    """A reported box: its score is explained.

    Attributes:
        label: class index.
        score: as reported.
        box: x1, y1, x2, y2 in pixels of the model's square.
    """

    label: int
    score: float
    box: tuple[float, float, float, float]


Target = ClassTarget | BoxTarget


class Explanation(TypedDict):
    """Activation maps, float32 from 0 to 1: the pixels with large values raised the explained score.

    `classification` (H, W) explains the predicted class label; absent if the model has none. `detection` has an (H, W)
    for each of the first `MOST_BOXES` boxes of the result, in their order.
    """

    classification: NotRequired[FloatArray]
    detection: NotRequired[list[FloatArray]]


def box_target(detection: Mapping[str, Any], row: int, scale: Sequence[float]) -> BoxTarget:
    """Return the target of a reported box.

    Args:
        detection: the task's part of a result.
        row: number of the box.
        scale: pixels of the model's square per pixel of the image, across and down.
    """
    x1, y1, x2, y2 = detection["boxes"][row]
    box = x1 * scale[0], y1 * scale[1], x2 * scale[0], y2 * scale[1]
    return BoxTarget(detection["labels"][row], detection["scores"][row], box)


def targets_of(result: Mapping[str, Any], scale: Sequence[float]) -> list[Target]:
    """Return the targets of a whole result: its class label, then its best boxes."""
    targets: list[Target] = []
    if "classification" in result:
        targets.append(ClassTarget(result["classification"]["class_idx"]))
    if "detection" in result:
        rows = range(len(result["detection"]["boxes"]))[:MOST_BOXES]
        targets += [box_target(result["detection"], row, scale) for row in rows]
    return targets


def enlarged(explanation: Explanation, width: int, height: int) -> Explanation:
    """Return the maps at another size, bilinear."""
    whole: Explanation = {}
    if "classification" in explanation:
        whole["classification"] = resize_heat(explanation["classification"], width, height)
    if "detection" in explanation:
        whole["detection"] = [resize_heat(each, width, height) for each in explanation["detection"]]
    return whole
