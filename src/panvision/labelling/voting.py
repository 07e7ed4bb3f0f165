"""The common answer of several models: boxes of the majority, mean masks, mean class probabilities."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from panvision.core.boxes import box_iou
from panvision.decoding.classification import ClassResult, evidence
from panvision.decoding.detection import BoxResult
from panvision.decoding.segmentation import mask_from_logits
from panvision.inference.results import reported_boxes
from panvision.labelling.answers import Answer, Size, mask_probability

# Boxes of two models with at least this IoU are of one object.
SAME_OBJECT = 0.5
# Probabilities closer to 0 or 1 than this have no finite logit.
_LEAST = 1e-7


class VotedBox(NamedTuple):
    """A box: class name, mean score of the models that have it, and mean x1, y1, x2, y2 weighted by their scores."""

    name: str
    score: float
    corners: tuple[float, float, float, float]


@dataclass(frozen=True)
class Vote:
    """The common answer to one image, a part per task of the models.

    Attributes:
        mask: (H, W) uint8, 0 or 255.
        mask_confidence: mean probability within the mask; 0 for an empty one.
        boxes: best first.
        label: the mean probability of each class; answered if most models answer.
    """

    mask: npt.NDArray[np.uint8] | None
    mask_confidence: float
    boxes: tuple[VotedBox, ...]
    label: ClassResult | None

    def result(self, classes: Sequence[str]) -> dict[str, Any]:
        """Return the vote in the form of `Predictor.predict`; `classes` are the names of the boxes by index."""
        found: dict[str, Any] = {} if self.mask is None else {"segmentation": {"mask": self.mask}}
        if classes:
            found["detection"] = {
                "boxes": [list(box.corners) for box in self.boxes],
                "labels": [classes.index(box.name) for box in self.boxes],
                "scores": [box.score for box in self.boxes],
                "class_names": [box.name for box in self.boxes],
            }
        return found | ({} if self.label is None else {"classification": self.label})


def vote(
    answers: Sequence[Answer],
    size: Size,
    thresholds: Mapping[str, float],
    costs: Sequence[Sequence[float]] = (),
    max_detections: int | None = None,
) -> Vote:
    """Join the answers to one image of (width, height) `size`.

    Args:
        answers: one per model; those to the mirrored image have no vote.
        size: width and height in pixels.
        thresholds: class name → least score of its boxes.
        costs: of mistakes, as in `ModelShape`.
        max_detections: boxes of each answer that count, the best ones above their thresholds; None: all.
    """
    answers = [answer for answer in answers if not answer.mirrored]
    probability = mask_probability(answers)
    mask, confidence = None, 0.0
    if probability is not None:
        clipped = probability.clip(_LEAST, 1 - _LEAST)
        alone = answers[0].mask_logits if len(answers) == 1 else None
        mask = mask_from_logits(np.log(clipped / (1 - clipped)) if alone is None else alone, *size)
        inside = probability[probability > 0.5]
        confidence = float(inside.mean()) if inside.size else 0.0
    boxes = [reported_boxes(answer.boxes, thresholds, max_detections) for answer in answers if answer.boxes is not None]
    labels = [answer.label for answer in answers if answer.label is not None]
    return Vote(
        mask=mask,
        mask_confidence=confidence,
        boxes=tuple(vote_boxes(boxes, thresholds)[:max_detections]),
        label=mean_label(labels, costs) if labels else None,
    )


def mean_label(labels: Sequence[ClassResult], costs: Sequence[Sequence[float]] = ()) -> ClassResult:
    """Return the class with the largest mean probability; of equal ones the first. Answered if most models answer.

    With costs of mistakes (`ModelShape.costs`), it is the one with the lowest expected cost, as in `predict`.
    """
    names = list(labels[0]["probabilities"])
    means = {name: float(np.mean([label["probabilities"][name] for label in labels])) for name in names}
    best = names[int(np.argmax(evidence(np.array(list(means.values())), costs)))]
    reasons = [label["reason"] for label in labels if not label["answered"]]
    answered = 2 * len(reasons) < len(labels)
    return {
        "class_idx": names.index(best),
        "class_name": best,
        "probabilities": means,
        "answered": answered,
        "reason": None if answered else reasons[0],
        "distance": None,  # those of different models have no common unit
    }


def vote_boxes(members: Sequence[BoxResult], thresholds: Mapping[str, float]) -> list[VotedBox]:
    """Return the boxes that more than half of the models have.

    Boxes of one class are clustered by IoU (weighted boxes fusion; Solovyev et al. 2021): best first, each joins the
    cluster whose best box it overlaps most, if that has no box of its model, or begins a new one.

    Args:
        members: each model's boxes.
        thresholds: class name → score below which a box does not count.
    """
    found: list[VotedBox] = []
    for name, least in thresholds.items():
        boxes = sorted(
            (
                (-score, number, tuple(box))
                for number, member in enumerate(members)
                for box, score, own in zip(member["boxes"], member["scores"], member["class_names"], strict=True)
                if own == name and score >= least
            )
        )
        clusters: list[dict[int, tuple[float, tuple[float, ...]]]] = []
        for negative, number, corners in boxes:
            open_ones = [cluster for cluster in clusters if number not in cluster]
            overlaps = [float(box_iou([_best(cluster)], [corners])[0, 0]) for cluster in open_ones]
            if overlaps and max(overlaps) >= SAME_OBJECT:
                open_ones[int(np.argmax(overlaps))][number] = (-negative, corners)
            else:
                clusters.append({number: (-negative, corners)})
        found += [_joined(name, list(cluster.values())) for cluster in clusters if 2 * len(cluster) > len(members)]
    return sorted(found, key=lambda box: -box.score)


def _best(cluster: dict[int, tuple[float, tuple[float, ...]]]) -> tuple[float, ...]:
    # Boxes come best first.
    return next(iter(cluster.values()))[1]


def _joined(name: str, boxes: Sequence[tuple[float, tuple[float, ...]]]) -> VotedBox:
    scores = [score for score, _ in boxes]
    weights = scores if sum(scores) > 0 else None
    x1, y1, x2, y2 = (float(edge) for edge in np.average([corners for _, corners in boxes], axis=0, weights=weights))
    return VotedBox(name, float(np.mean(scores)), (x1, y1, x2, y2))
