"""Results of inference: plain Python values, except the mask."""

from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict, cast

from panvision.decoding.classification import ClassResult
from panvision.decoding.decoder import RawOutputs
from panvision.decoding.detection import BoxResult
from panvision.decoding.segmentation import MaskResult
from panvision.decoding.table import DECODERS
from panvision.inference.backend import ModelInfo
from panvision.inference.explanation import Explanation


class Result(TypedDict):
    """Result of one image, a part per task of the model.

    `image_name` and `image_path` are present if the image is a file of a folder, and `explanation` if it was asked for.
    """

    segmentation: NotRequired[MaskResult]
    detection: NotRequired[BoxResult]
    classification: NotRequired[ClassResult]
    image_name: NotRequired[str]
    image_path: NotRequired[str]
    explanation: NotRequired[Explanation]


def decode(outputs: RawOutputs, row: int, info: ModelInfo, *, width: int, height: int) -> Result:
    """Decode the raw outputs of one image.

    Args:
        outputs: of N images.
        row: index of the image.
        info: tasks, class names and thresholds.
        width, height: size of the image in pixels.
    """
    own = {name: output[row] for name, output in outputs.items()}
    result: dict[str, Any] = {task: DECODERS[task].decode(own, info, (width, height)) for task in info.tasks}
    return cast("Result", result)


def reported_boxes(boxes: BoxResult, thresholds: Mapping[str, float], most: int | None) -> BoxResult:
    """Return the boxes whose score reaches the threshold of their class, the first `most` of them; None: all."""
    scores = zip(boxes["class_names"], boxes["scores"], strict=True)
    rows = [row for row, (name, score) in enumerate(scores) if score >= thresholds[name]][:most]
    return {
        "boxes": [boxes["boxes"][row] for row in rows],
        "labels": [boxes["labels"][row] for row in rows],
        "scores": [boxes["scores"][row] for row in rows],
        "class_names": [boxes["class_names"][row] for row in rows],
    }


__all__ = ["BoxResult", "ClassResult", "MaskResult", "Result", "decode", "reported_boxes"]
