"""How one picture's prediction compares with its truth, in a few words for its caption."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from panvision.inference.results import Result
from panvision.report.faults import box_iou

# A mask or a box that overlaps the true one by less counts as missed.
MIN_IOU = 0.5
# A caption names at most so many boxes.
MOST_NAMES = 8


@dataclass(frozen=True)
class Verdict:
    """What the caption says.

    Attributes:
        short: the judgement, for example `IoU 0.93`.
        right: whether the picture counts as answered right.
        true, predicted: both answers in words, empty where the picture says it better.
    """

    short: str
    right: bool
    true: str = ""
    predicted: str = ""


def judge(truth: Mapping[str, Any], result: Result) -> Verdict:
    """Compare a result with the one part that its truth has."""
    if "segmentation" in truth:
        return _judge_mask(truth["segmentation"]["mask"], result["segmentation"]["mask"])
    if "detection" in truth:
        return _judge_boxes(truth["detection"], result["detection"])
    state = result["classification"]
    true, predicted = truth["classification"]["class_name"], state["class_name"]
    probability = state["probabilities"][predicted]
    right = predicted == true
    return Verdict("right" if right else "wrong", right, true, f"{predicted} {probability:.0%}")


def _judge_mask(truth: npt.NDArray[np.uint8], found: npt.NDArray[np.uint8]) -> Verdict:
    union = int(np.count_nonzero((truth != 0) | (found != 0)))
    if not union:
        return Verdict("no pan, none found", right=True)
    iou = int(np.count_nonzero((truth != 0) & (found != 0))) / union
    return Verdict(f"IoU {iou:.2f}", right=iou >= MIN_IOU)


def _judge_boxes(truth: Mapping[str, Any], found: Mapping[str, Any]) -> Verdict:
    hits = count_hits(truth, found)
    objects, extra = len(truth["boxes"]), len(found["boxes"]) - hits
    short = f"{hits} of {objects} found" if objects else "no objects"
    if extra:
        short += f", {extra} too many"
    scored = [f"{name} {score:.2f}" for name, score in zip(found["class_names"], found["scores"], strict=True)]
    return Verdict(short, hits == objects and not extra, _listed(truth["class_names"]), _listed(scored))


def _listed(names: Sequence[str]) -> str:
    """The first names, and how many more: an untrained model may find a hundred boxes."""
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return ", ".join(names[:MOST_NAMES]) + more


def count_hits(truth: Mapping[str, Any], found: Mapping[str, Any]) -> int:
    """True boxes that a found box of their class overlaps by an IoU of at least 0.5; best boxes choose first."""
    free = list(range(len(truth["boxes"])))
    for box, label in zip(found["boxes"], found["labels"], strict=True):
        overlaps = {row: box_iou(box, truth["boxes"][row]) for row in free if truth["labels"][row] == label}
        best = max(overlaps, key=lambda row: overlaps[row], default=None)
        if best is not None and overlaps[best] >= MIN_IOU:
            free.remove(best)
    return len(truth["boxes"]) - len(free)
