"""What inference says about one picture, as plain Python values (the mask excepted)."""

from collections.abc import Sequence
from typing import NotRequired, TypedDict

import numpy as np
import numpy.typing as npt

from panvision.decoding.boxes import scale_boxes, select
from panvision.decoding.masks import mask_from_logits
from panvision.decoding.points import FloatArray
from panvision.decoding.states import softmax
from panvision.inference.backend import ModelInfo, RawOutputs


class MaskResult(TypedDict):
    """The pan: `mask` (H, W) uint8, 0 or 255, in the picture's own pixels."""

    mask: npt.NDArray[np.uint8]


class BoxResult(TypedDict):
    """Boxes, best first: [x1, y1, x2, y2] in the picture's own pixels, class index, score, class name."""

    boxes: list[list[float]]
    labels: list[int]
    scores: list[float]
    class_names: list[str]


class StateResult(TypedDict):
    """The state: index and name of the likeliest, and every state's probability."""

    class_idx: int
    class_name: str
    probabilities: dict[str, float]


class Result(TypedDict):
    """One picture. A task that the model was not trained for is absent.

    `image_name` and `image_path` are there when it was a file of a folder.
    """

    segmentation: NotRequired[MaskResult]
    detection: NotRequired[BoxResult]
    classification: NotRequired[StateResult]
    image_name: NotRequired[str]
    image_path: NotRequired[str]


def decode(
    outputs: RawOutputs, row: int, info: ModelInfo, *, points: tuple[FloatArray, FloatArray], width: int, height: int
) -> Result:
    """Decode one picture's outputs.

    Args:
        outputs: of N pictures.
        row: which of them.
        info: names and thresholds.
        points: what `level_points` gives for the model.
        width, height: the picture's own size in pixels.
    """
    result: Result = {}
    if outputs.mask_logits is not None:
        result["segmentation"] = {"mask": mask_from_logits(outputs.mask_logits[row], width, height)}
    if outputs.class_logits is not None and outputs.ltrb is not None and outputs.centerness is not None:
        found = select(
            outputs.class_logits[row],
            outputs.ltrb[row],
            outputs.centerness[row],
            points=points,
            image_size=info.image_size,
            thresholds=info.thresholds,
        )
        labels: list[int] = found.labels.tolist()
        result["detection"] = {
            "boxes": scale_boxes(found.boxes, info.image_size, width, height).tolist(),
            "labels": labels,
            "scores": found.scores.tolist(),
            "class_names": [info.det_class_names[label] for label in labels],
        }
    if outputs.state_logits is not None:
        result["classification"] = _state(outputs.state_logits[row], info.cls_class_names)
    return result


def _state(logits: FloatArray, names: Sequence[str]) -> StateResult:
    """State logits (C,) as the likeliest state and every state's probability."""
    probabilities: list[float] = softmax(logits).tolist()
    best = int(np.argmax(probabilities))
    return {
        "class_idx": best,
        "class_name": names[best],
        "probabilities": dict(zip(names, probabilities, strict=True)),
    }
