"""Doubts about an image, per head, from 0 to 1, with their reasons."""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from panvision.core.boxes import box_iou
from panvision.decoding.classification import ClassResult
from panvision.decoding.detection import BoxResult
from panvision.labelling.answers import Answer, mask_probability
from panvision.labelling.voting import SAME_OBJECT, mean_label

# The parts of an image's doubt, in the order of tables.
PARTS = ("segmentation", "detection", "classification", "disagreement")
# A score this far from the threshold is no longer near it.
NEAR_THRESHOLD = 0.15
# Masks of less than this fraction of the image are noise.
_SMALL = 0.01
# The band around a mask's edge reaches this fraction of the model's square to each side.
_BAND = 1 / 64

Booleans = npt.NDArray[np.bool_]


class Doubt(NamedTuple):
    """A doubt from 0 (none) to 1, and its reason in words."""

    value: float
    reason: str


def doubts(answers: Sequence[Answer], thresholds: Mapping[str, float], tasks: Collection[str]) -> dict[str, Doubt]:
    """Return the doubts about one image by part of `PARTS`; parts that the models cannot have are absent.

    Args:
        answers: of all models, and to the mirrored image.
        thresholds: class name → least score of its boxes.
        tasks: whose labels are wanted.
    """
    answers = [answer.only(tasks) for answer in answers]
    found: dict[str, Doubt] = {}
    probability = mask_probability(answers)
    if probability is not None:
        found["segmentation"] = mask_doubt(probability)
    if boxes := [answer.boxes for answer in answers if answer.boxes is not None]:
        found["detection"] = max((box_doubt(each, thresholds) for each in boxes), key=lambda doubt: doubt.value)
    if labels := [answer.label for answer in answers if answer.label is not None]:
        found["classification"] = label_doubt(labels)
    if len(answers) > 1:
        found["disagreement"] = disagreement(answers, thresholds)
    return found


def total(values: Sequence[float]) -> float:
    """Join doubts that are independent: the probability that at least one is right."""
    return float(1.0 - np.prod([1.0 - value for value in values]))


def label_doubt(labels: Sequence[ClassResult]) -> Doubt:
    """Return 1 less the margin between the two most probable classes; 1 if a model does not answer.

    Margin sampling: Scheffer, Decomain and Wrobel 2001.
    """
    if reasons := [label["reason"] for label in labels if not label["answered"]]:
        return Doubt(1.0, str(reasons[0]))
    chances = sorted(mean_label(labels)["probabilities"].items(), key=lambda pair: -pair[1])
    if len(chances) < 2:
        return Doubt(0.0, "one class only")
    (first, most), (second, less) = chances[:2]
    return Doubt(1.0 - (most - less), f"{first} {most:.0%} or {second} {less:.0%}")


def box_doubt(boxes: BoxResult, thresholds: Mapping[str, float]) -> Doubt:
    """Return a half for one box exactly at its threshold, three quarters for two, and so on; less if farther away."""
    apart = [abs(score - thresholds[name]) for score, name in zip(boxes["scores"], boxes["class_names"], strict=True)]
    near = [each for each in apart if each < NEAR_THRESHOLD]
    if not near:
        return Doubt(0.0, "no box near its threshold")
    closest = apart.index(min(near))
    value = total([0.5 * (1.0 - each / NEAR_THRESHOLD) for each in near])
    name, score = boxes["class_names"][closest], boxes["scores"][closest]
    count = f"{len(near)} boxes" if len(near) > 1 else "a box"
    return Doubt(value, f"{count} near the threshold: {name} {score:.2f} at {thresholds[name]:.2f}")


def mask_doubt(probability: npt.NDArray[np.float64]) -> Doubt:
    """Return the mean entropy in bits of the pixels near the mask's edge; without an edge, of the least sure pixels.

    Args:
        probability: (S, S) of the mask.
    """
    entropy = _entropy(probability)
    inside = probability > 0.5
    reach = max(1, round(len(probability) * _BAND))
    edge = _grown(inside, reach) & _grown(~inside, reach)
    if not edge.any():
        least_sure = np.sort(entropy, axis=None)[-max(1, round(_SMALL * entropy.size)) :]
        return Doubt(float(least_sure.mean()), "a mask is barely missing")
    value = float(entropy[edge].mean())
    return Doubt(value, f"blurred edge of the mask ({value:.2f} bits)")


def disagreement(answers: Sequence[Answer], thresholds: Mapping[str, float]) -> Doubt:
    """Return the largest difference of the first answer from the others, over mask, boxes and class."""
    first, others = answers[0], answers[1:]
    parts = [Doubt(0.0, "answers agree")]
    if first.mask_logits is not None:
        apart = float(np.mean([_mask_difference(first, other) for other in others]))
        parts.append(Doubt(apart, f"answers disagree on {apart:.0%} of the mask"))
    if first.boxes is not None:
        same = float(np.mean([_same_boxes(first.boxes, other.boxes, thresholds) for other in others if other.boxes]))
        parts.append(Doubt(1.0 - same, f"answers disagree on boxes ({same:.0%} in common)"))
    if first.label is not None:
        labels = [answer.label for answer in answers if answer.label is not None]
        mean = mean_label(labels)["probabilities"]
        gaps = [sum(abs(label["probabilities"][name] - mean[name]) for name in mean) / 2 for label in labels]
        names = sorted({label["class_name"] for label in labels})
        parts.append(Doubt(float(np.mean(gaps)), f"answers disagree on the class ({', '.join(names)})"))
    return max(parts, key=lambda doubt: doubt.value)


def _entropy(probability: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    p = probability.clip(1e-12, 1 - 1e-12)
    return np.asarray(-(p * np.log2(p) + (1 - p) * np.log2(1 - p)))


def _grown(inside: Booleans, by: int) -> Booleans:
    """Return the pixels that are at most `by` pixels from a region, across and down."""
    for axis in (0, 1):
        padded = np.pad(inside, [(by, by) if each == axis else (0, 0) for each in (0, 1)])
        windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * by + 1, axis=axis)
        inside = np.asarray(windows.any(axis=-1))
    return inside


def _mask_difference(one: Answer, other: Answer) -> float:
    """Return 1 less the IoU of two masks; less for specks."""
    first, second = (mask_probability([each]) for each in (one, other))
    if first is None or second is None:
        return 0.0
    if first.shape != second.shape:
        # Of other models: compare at the coarser size.
        side = min(len(first), len(second))
        first, second = (each[_rows(len(each), side)][:, _rows(len(each), side)] for each in (first, second))
    both, either = np.count_nonzero((first > 0.5) & (second > 0.5)), np.count_nonzero((first > 0.5) | (second > 0.5))
    return float(either - both) / max(float(either), _SMALL * first.size)


def _rows(length: int, wanted: int) -> npt.NDArray[np.int64]:
    return (np.arange(wanted, dtype=np.int64) * 2 + 1) * length // (2 * wanted)


def _same_boxes(one: BoxResult, other: BoxResult, thresholds: Mapping[str, float]) -> float:
    """Return the fraction of boxes above the threshold that both have (the F1 score); 1 if neither has any."""
    kept = [_above(boxes, thresholds) for boxes in (one, other)]
    count = len(kept[0]) + len(kept[1])
    taken: set[int] = set()
    for name, corners in kept[0]:
        for number, (other_name, other_corners) in enumerate(kept[1]):
            if number not in taken and name == other_name and box_iou([corners], [other_corners])[0, 0] >= SAME_OBJECT:
                taken.add(number)
                break
    return 2 * len(taken) / count if count else 1.0


def _above(boxes: BoxResult, thresholds: Mapping[str, float]) -> list[tuple[str, list[float]]]:
    rows = zip(boxes["class_names"], boxes["scores"], boxes["boxes"], strict=True)
    return [(name, corners) for name, score, corners in rows if score >= thresholds[name]]
