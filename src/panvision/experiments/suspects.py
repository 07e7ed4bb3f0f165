"""Labels ranked by how likely they are wrong, from out-of-fold predictions: pure functions of per-image results.

Every label has a score from 0 to 1: half of 1 plus the evidence against it minus the evidence for it. Above 0.5 the
evidence against it prevails.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import fsum
from typing import Any

import numpy as np
import numpy.typing as npt

from panvision.core.boxes import box_iou
from panvision.core.tasks import Task
from panvision.evaluation.results import Results
from panvision.report.mistakes import FOUND

Floats = npt.NDArray[np.float64]

# A predicted box with at least this IoU with a label of its class may mean the same object.
NEAR = 0.1
# Predictions of two classes with this IoU mean one object.
SAME_PLACE = 0.7
# A predicted box without a label is listed from this score on; fainter ones are noise.
FAINT = 0.25


@dataclass(frozen=True)
class Suspect:
    """One label, or one label that may be missing.

    Attributes:
        file: the image, below `<data.root>/<dataset>`.
        what: the label, unique within the image except for missing labels of one class.
        box: corners in pixels of the labelled box, or of the predicted one for a missing label; None without a box.
        score: 0 to 1, larger for a label that is more likely wrong.
        suspicious: True if the evidence against the label prevails.
        reason: the prediction, with numbers.
        labelled: False for a missing label.
    """

    file: str
    what: str
    box: tuple[float, ...] | None
    score: float
    suspicious: bool
    reason: str
    labelled: bool = True


def rank(results: Results) -> list[Suspect]:
    """Return the labels of all images, those most likely wrong first; the order of the images does not matter."""
    found = RANKINGS[results.task](results)
    return sorted(found, key=lambda each: (-each.score, each.file, each.what, each.box or ()))


def doubt(against: float, support: float) -> float:
    """Return the score of a label from the evidence against and for it, each 0 to 1."""
    return round((1.0 + against - support) / 2.0, 6)


def rank_classes(results: Results) -> list[Suspect]:
    """Score class labels by confident learning (Northcutt, Jiang, Chuang 2021, JAIR 70, "Confident Learning").

    The score is the normalised margin: the probability of the best other class minus that of the label. Suspicious are,
    for each pair of label and other class, the `wrong_classes` images with the largest margin ("prune by noise rate").
    """
    truth = np.array([image["truth"] for image in results.images], np.int64)
    probabilities = np.array([image["probabilities"] for image in results.images], np.float64)
    names, marked = results.classes, set()
    for (label, other), count in wrong_classes(truth, probabilities.reshape(len(truth), len(names))).items():
        margins = probabilities[:, other] - probabilities[:, label]
        own = [row for row in np.flatnonzero(truth == label).tolist() if margins[row] > 0.0]
        marked.update(sorted(own, key=lambda row: (-margins[row], results.images[row]["file"]))[:count])
    found = []
    for row, (image, label) in enumerate(zip(results.images, truth.tolist(), strict=True)):
        others = [(value, -index) for index, value in enumerate(image["probabilities"]) if index != label]
        best, index = max(others, default=(0.0, -label))
        own = image["probabilities"][label]
        reason = f"predicted {names[-index]} {best:.2f}, {names[label]} {own:.2f}"
        score = doubt(best, own)
        found.append(Suspect(image["file"], f"class {names[label]}", None, score, row in marked, reason))
    return found


def wrong_classes(truth: npt.NDArray[np.int64], probabilities: Floats) -> dict[tuple[int, int], int]:
    """Estimate the number of images with a wrong class label, by label and true class, from the confident joint.

    An image counts for the most probable class whose probability is at least that class's self-confidence, the mean
    probability of the class on the images labelled with it. Each label's counts are scaled to its number of images
    (Northcutt et al. 2021, equations 1 to 3).

    Args:
        truth: (N,) labelled class indexes.
        probabilities: (N, C) out-of-fold.
    """
    classes = range(probabilities.shape[1])
    limits = [_mean(probabilities[truth == label, label].tolist(), default=np.inf) for label in classes]
    confident = np.where(probabilities >= np.array(limits), probabilities, -1.0)
    joint = np.zeros((len(classes), len(classes)))
    for label, values in zip(truth.tolist(), confident, strict=True):
        if values.max() >= 0.0:
            joint[label, int(values.argmax())] += 1.0
    whole = joint.sum(axis=1)
    return {
        (label, other): round(joint[label, other] / whole[label] * int((truth == label).sum()))
        for label in classes
        for other in classes
        if other != label and joint[label, other]
    }


def rank_masks(results: Results) -> list[Suspect]:
    """Score masks by their IoU with the predicted mask, compared with the median of all images.

    To both areas of the ratio a tenth of the mean labelled area is added, so that a few pixels predicted on an empty
    mask count little. The support is the fourth power of the ratio: 0.84 of the usual one gives half.
    """
    pixels = [image["pixels"][:3] for image in results.images]  # both, predicted only, labelled only
    added = _mean([float(hit + missed) for hit, _, missed in pixels], default=0.0) / 10.0
    ratios = [(hit + added) / max(1.0, hit + extra + missed + added) for hit, extra, missed in pixels]
    usual = float(np.median(ratios)) if ratios else 1.0
    found = []
    for image, (hit, extra, missed), ratio in zip(results.images, pixels, ratios, strict=True):
        support = min(1.0, ratio / usual) ** 4 if usual else 1.0
        score = doubt(usual * (1.0 - support), support)
        iou = hit / whole if (whole := hit + extra + missed) else 1.0
        reason = f"IoU {iou:.2f}: {extra} pixels predicted only, {missed} labelled only"
        found.append(Suspect(image["file"], "mask", None, score, score > 0.5, reason))
    return found


@dataclass(frozen=True)
class _Boxes:
    """Labels and predictions of one image; M labels, D predictions.

    Attributes:
        file: path of the image.
        boxes, labels: (M, 4) and (M,) as labelled.
        found, called, scores: (D, 4), (D,) and (D,) as predicted.
        ious: (M, D).
        same: (M, D), True for a prediction of the label's class.
    """

    file: str
    boxes: Floats
    labels: npt.NDArray[np.int64]
    found: Floats
    called: npt.NDArray[np.int64]
    scores: Floats
    ious: Floats
    same: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, image: Mapping[str, Any]) -> "_Boxes":
        """Read a record; of predictions of several classes in one place only the one with the largest score counts."""
        boxes, labels = np.array(image["truth"]["boxes"], float), np.array(image["truth"]["labels"], np.int64)
        found, called = np.array(image["found"]["boxes"], float), np.array(image["found"]["labels"], np.int64)
        scores = np.array(image["found"]["scores"], float)
        others = (box_iou(found, found) >= SAME_PLACE) & (called[:, None] != called[None])
        kept = ~(others & (scores[None] > scores[:, None])).any(axis=1)
        found, called, scores = found.reshape(-1, 4)[kept], called[kept], scores[kept]
        same = labels[:, None] == called[None]
        return cls(image["file"], boxes.reshape(-1, 4), labels, found, called, scores, box_iou(boxes, found), same)

    @property
    def free(self) -> npt.NDArray[np.bool_]:
        """(D,) True for a prediction that no label of its class accounts for."""
        return np.logical_not((self.same & (self.ious >= FOUND)).any(axis=0))


@dataclass(frozen=True)
class _Usual:
    """Usual values of a class.

    Attributes:
        score, iou: means of the best prediction of each label that is found.
        noise: the median over the images of the largest score without a label.
        recall: fraction of the labels with a prediction of at least half of the usual confidence.
        precision: fraction of the predictions of at least the usual score that have a label.
    """

    score: float
    iou: float
    noise: float
    recall: float
    precision: float

    def confidence(self, scores: Floats) -> Floats:
        """Return scores on a scale from 0, as without a label, to 1, as usual for a label."""
        return np.clip((scores - self.noise) / (self.score - self.noise), 0.0, 1.0)

    @classmethod
    def of(cls, images: list[_Boxes], label: int) -> "_Usual":
        """Measure a class."""
        best: list[tuple[float, float]] = []
        noise: list[float] = []
        confident: list[tuple[float, bool]] = []
        for image in images:
            own = image.called == label
            hits = np.where(image.ious >= FOUND, image.scores, 0.0)[image.labels == label][:, own]
            ious = image.ious[image.labels == label][:, own]
            for row, overlaps in zip(hits, ious, strict=True):
                column = int(row.argmax()) if row.size else 0
                best.append((float(row[column]), float(overlaps[column])) if row.any() else (0.0, 0.0))
            noise.append(float(image.scores[own & image.free].max(initial=0.0)))
            confident += zip(image.scores[own].tolist(), (~image.free[own]).tolist(), strict=True)
        found = [pair for pair in best if pair[0] > 0.0]
        score, iou = (_mean([pair[part] for pair in found], default=1.0) for part in (0, 1))
        faint = min(float(np.median(noise)) if noise else 0.0, score / 2.0)
        recall = sum(own >= (score + faint) / 2.0 for own, _ in best) / max(1, len(best))
        precision = _mean([float(hit) for own, hit in confident if own >= score], default=0.0)
        return cls(score, iou, faint, recall, precision)


def rank_boxes(results: Results) -> list[Suspect]:
    """Score labelled boxes, and predicted boxes without a label, by the predictions on their image.

    A label is supported by the best prediction of its class, its score and IoU compared with those that are usual for
    the class: means over its labels, like the thresholds of confident learning. Evidence against it is that no
    prediction supports it although its class is found elsewhere (spurious), a prediction of another class in its place
    (wrong class), or one of its class close by (loose). The kinds of errors are those of ObjectLab (Tkachenko,
    Thyagarajan, Mueller 2023): overlooked, badly located, swapped.
    """
    images = [_Boxes.of(image) for image in results.images]
    usual = [_Usual.of(images, label) for label in range(len(results.classes))]
    return [suspect for image in images for suspect in _rank_image(image, results.classes, usual)]


def _rank_image(image: _Boxes, names: list[str], usual: list[_Usual]) -> list[Suspect]:
    confidence = np.zeros(len(image.scores))
    for label, own in enumerate(usual):
        confidence[image.called == label] = own.confidence(image.scores[image.called == label])
    free = image.free
    suspects = []
    for row, (box, label) in enumerate(zip(image.boxes.tolist(), image.labels.tolist(), strict=True)):
        own, name, same, ious = usual[label], names[label], image.same[row], image.ious[row]
        supports = np.where(same, confidence * _ramp(ious, own.iou), 0.0)
        support = float(supports.max(initial=0.0))
        against, reason = own.recall * (1.0 - support), f"no {name} is predicted there"
        if support > 0.0:
            reason = f"predicted {_called(image, names, row, int(supports.argmax()))}"
        near = free & np.where(same, ious >= NEAR, ious >= FOUND)
        if support < 0.5 and near.any():
            rival = int(np.where(near, confidence, -1.0).argmax())
            if confidence[rival] > against:
                against = float(confidence[rival])
                reason = f"predicted {_called(image, names, row, rival)}"
        # They are explained: by a wrong or loose label, or as second boxes of a right one.
        free = free & ~(near & (same | (support < 0.5)))
        score = doubt(against, support)
        what = f"{name} at {box[0]:.0f},{box[1]:.0f}"
        suspects.append(Suspect(image.file, what, tuple(box), score, score > 0.5, reason))
    for each in np.flatnonzero(free).tolist():
        label = int(image.called[each])
        score = doubt(usual[label].precision * confidence[each], 1.0 - confidence[each])
        if score >= FAINT:
            reason = f"predicted {names[label]} {image.scores[each]:.2f}, without a label"
            box = tuple(image.found[each].tolist())
            suspects.append(Suspect(image.file, f"missing {names[label]}", box, score, score > 0.5, reason, False))
    return suspects


def _called(image: _Boxes, names: list[str], row: int, each: int) -> str:
    return f"{names[image.called[each]]} {image.scores[each]:.2f}, IoU {image.ious[row, each]:.2f}"


def _ramp(ious: Floats, usual: float) -> Floats:
    """Return the support of IoUs: 0 below FOUND, 1 from the usual one on."""
    if usual <= FOUND:
        return (ious >= FOUND).astype(np.float64)
    return np.clip((ious - FOUND) / (usual - FOUND), 0.0, 1.0)


def _mean(values: list[float], *, default: float) -> float:
    """Return the mean; its last digit does not depend on the order of the values."""
    return fsum(values) / len(values) if values else default


# A task without a row is not reviewed.
RANKINGS: dict[Task, Callable[[Results], list[Suspect]]] = {
    "segmentation": rank_masks,
    "detection": rank_boxes,
    "classification": rank_classes,
}
