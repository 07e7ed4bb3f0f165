"""Losses of the three tasks. Each term is a sum and what it is divided by, so that batches add up exactly."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 -- PyTorch's own convention
from torch import Tensor

from panvision.model.flat import join_levels
from panvision.model.heads import DetectionOutput
from panvision.model.multitask import Outputs
from panvision.training.data.batches import NO_OBJECT, Batch
from panvision.training.settings import LossSettings
from panvision.training.targets import Points, Targets, assign_targets

# Smooth L1 turns from quadratic to linear at this distance, in strides.
SMOOTH_L1_BETA = 1.0
# Keeps boxes without area from a division by 0, as torchvision has it.
AREA_EPSILON = 1e-7


@dataclass(frozen=True)
class Term:
    """One loss as a sum over samples, points or pixels.

    Attributes:
        total: () float32, the sum.
        count: () float32, what the sum is divided by.
    """

    total: Tensor
    count: Tensor

    def mean(self) -> Tensor:
        """() float32; a term without anything to count is 0 and still has a gradient."""
        return self.share(self.count)

    def share(self, count: Tensor) -> Tensor:
        """() float32, what this part adds to the mean over a whole that counts `count`."""
        return self.total / count.clamp(min=1.0)

    def __add__(self, other: "Term") -> "Term":
        return Term(self.total + other.total, self.count + other.count)


# Names of the terms. Detection's is the sum of its three parts.
Terms = dict[str, Term]
DETECTION_PARTS = ("det_class", "det_box", "det_centerness")


def segmentation_terms(logits: Tensor, masks: Tensor) -> Terms:
    """Binary cross-entropy, mean over pixels.

    Args:
        logits: (B, 1, S, S).
        masks: (B, 1, S, S) uint8, 0 or 1.
    """
    total = F.binary_cross_entropy_with_logits(logits.float(), masks.float(), reduction="sum")
    return {"seg": Term(total, _count(masks.numel(), logits))}


def classification_terms(logits: Tensor, states: Tensor, settings: LossSettings) -> Terms:
    """Softmax focal loss (Lin et al. 2017, equation 5, over classes) or cross-entropy, mean over images.

    Args:
        logits: (B, C).
        states: (B,) int64.
        settings: `state`, `focal_gamma`, `focal_alpha`, `label_smoothing`.
    """
    logits = logits.float()
    losses = F.cross_entropy(logits, states, label_smoothing=settings.label_smoothing, reduction="none")  # (B,)
    if settings.state == "focal":
        certainty = logits.softmax(1).gather(1, states[:, None])[:, 0]  # probability of the true state
        losses = settings.focal_alpha * (1 - certainty).pow(settings.focal_gamma) * losses
    return {"cls": Term(losses.sum(), _count(len(states), logits))}


def detection_terms(
    output: DetectionOutput, boxes: Tensor, labels: Tensor, points: Points, settings: LossSettings
) -> Terms:
    """FCOS's three losses.

    Args:
        output: raw head outputs of B images.
        boxes: (B, M, 4) xyxy in pixels.
        labels: (B, M) int64; NO_OBJECT marks unused rows.
        points: where the predictions stand.
        settings: focal, box loss and centre radius.

    Returns:
        `det_class`: sigmoid focal loss over all points, per positive point. `det_box`: Smooth L1 on stride-normalised
        distances (summed over the four) or GIoU, weighted by centerness. `det_centerness`: binary cross-entropy, per
        positive point. Without a positive point the last two are 0 with a gradient of 0 for every parameter.
    """
    class_logits = join_levels(output.class_logits).float()  # (B, P, K)
    ltrb = join_levels(output.ltrb).float()  # (B, P, 4)
    centerness = join_levels(output.centerness)[..., 0].float()  # (B, P)
    targets = assign_targets(points, boxes, labels, center_radius=settings.center_radius)
    positive = targets.labels != NO_OBJECT  # (B, P)
    counts = _detection_counts(targets)

    # (B, P, K): background is a row of false.
    wanted = targets.labels[..., None] == torch.arange(class_logits.shape[-1], device=labels.device)
    class_losses = sigmoid_focal_loss(class_logits, wanted, alpha=settings.focal_alpha, gamma=settings.focal_gamma)
    # Masked, not indexed: the shapes do not depend on the data, so a GPU need not wait for the CPU.
    weights = targets.centerness * positive  # (B, P)
    box_losses = _box_losses(ltrb, targets.ltrb.where(positive[..., None], ltrb.detach()), settings)  # (B, P)
    centerness_losses = F.binary_cross_entropy_with_logits(centerness, targets.centerness, reduction="none")
    return {
        "det_class": Term(class_losses.sum(), counts["det_class"]),
        "det_box": Term((box_losses * weights).sum(), counts["det_box"]),
        "det_centerness": Term((centerness_losses * positive).sum(), counts["det_centerness"]),
    }


def _detection_counts(targets: Targets) -> dict[str, Tensor]:
    """What the detection terms are divided by: positive points, the box loss their weights."""
    positive = targets.labels != NO_OBJECT  # (B, P)
    positives = positive.sum().float()
    return {
        "det_class": positives,
        "det_box": (targets.centerness * positive).sum(),
        "det_centerness": positives,
    }


def _box_losses(predicted: Tensor, wanted: Tensor, settings: LossSettings) -> Tensor:
    """Loss of each point's distances, (..., 4) in strides → (...)."""
    if settings.box == "smooth_l1":
        return F.smooth_l1_loss(predicted, wanted, beta=SMOOTH_L1_BETA, reduction="none").sum(-1)
    return giou_loss(predicted, wanted)


def sigmoid_focal_loss(logits: Tensor, wanted: Tensor, *, alpha: float, gamma: float) -> Tensor:
    """Focal loss of independent classes (Lin et al. 2017, https://arxiv.org/abs/1708.02002, equation 5).

    Args:
        logits: (...).
        wanted: (...) bool, whether the class is there.
        alpha: weight of what is there, 1 - alpha of what is not.
        gamma: how much a certain answer counts less.

    Returns:
        (...), -α_t · (1 - p_t)^γ · log p_t with p_t the probability of what is wanted.
    """
    wrong = logits.where(~wanted, -logits)  # 1 - p_t = sigmoid(wrong), -log p_t = softplus(wrong)
    weight = torch.where(wanted, alpha, 1.0 - alpha)
    return weight * wrong.sigmoid().pow(gamma) * F.softplus(wrong)


def giou_loss(predicted: Tensor, wanted: Tensor) -> Tensor:
    """1 - GIoU (Rezatofighi et al. 2019, https://arxiv.org/abs/1902.09630) of boxes that share a point within.

    Args:
        predicted: (..., 4) distances from that point to left, top, right and bottom edge, all positive.
        wanted: (..., 4) likewise.

    Returns:
        (...), 0 to 2.
    """
    # Seen from a common point, the smaller distances bound what both cover, the larger ones the box around both.
    shared, hull = _area(torch.minimum(predicted, wanted)), _area(torch.maximum(predicted, wanted))
    union = _area(predicted) + _area(wanted) - shared
    return 1 - shared / (union + AREA_EPSILON) + (hull - union) / (hull + AREA_EPSILON)


def _area(ltrb: Tensor) -> Tensor:
    """(..., 4) distances from a point within → (...)."""
    return (ltrb[..., 0] + ltrb[..., 2]) * (ltrb[..., 1] + ltrb[..., 3])


def batch_terms(outputs: Outputs, batch: Batch, points: Points, settings: LossSettings) -> Terms:
    """All terms of one batch of each task; tasks whose output is absent are left out."""
    terms: Terms = {}
    if "segmentation" in outputs:
        terms |= segmentation_terms(outputs["segmentation"], batch.labels["segmentation"]["masks"])
    if "detection" in outputs:
        own = batch.labels["detection"]
        terms |= detection_terms(outputs["detection"], own["boxes"], own["labels"], points, settings)
    if "classification" in outputs:
        terms |= classification_terms(outputs["classification"], batch.labels["classification"]["classes"], settings)
    return terms


def whole_counts(batches: Sequence[Batch], points: Points, settings: LossSettings) -> dict[str, Tensor]:
    """The counts of all terms over several batches together; they follow from the labels alone, without a model.

    Args:
        batches: all on the device of `points`.
        points: where the predictions stand.
        settings: `center_radius`.
    """
    counts: dict[str, Tensor] = {}
    for batch in batches:
        found: dict[str, Tensor] = {}
        if "segmentation" in batch.images:
            found["seg"] = _count(batch.labels["segmentation"]["masks"].numel(), points.xy)
        if "detection" in batch.images:
            radius = settings.center_radius
            own = batch.labels["detection"]
            found |= _detection_counts(assign_targets(points, own["boxes"], own["labels"], center_radius=radius))
        if "classification" in batch.images:
            found["cls"] = _count(len(batch.images["classification"]), points.xy)
        counts = {name: counts[name] + count if name in counts else count for name, count in found.items()}
    return counts


def task_losses(terms: Terms, settings: LossSettings, counts: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    """Mean of every term, the detection loss `det` as the sum of its parts, and `total` = L.

    L = seg · L_seg + det · L_det + cls · L_cls, over the tasks that have terms.

    Args:
        terms: of one batch, or of several added up.
        settings: the weights.
        counts: if the terms are those of a part, the counts of the whole (`whole_counts`): the losses are then what
            the part adds to the whole's. Means of parts would weigh a positive point by how many others its part has.
    """
    losses = {name: term.mean() if counts is None else term.share(counts[name]) for name, term in terms.items()}
    if DETECTION_PARTS[0] in losses:
        losses["det"] = torch.stack([losses[name] for name in DETECTION_PARTS]).sum()
    weights = {"seg": settings.seg, "det": settings.det, "cls": settings.cls}
    losses["total"] = torch.stack([weight * losses[task] for task, weight in weights.items() if task in losses]).sum()
    return losses


def _count(number: int, like: Tensor) -> Tensor:
    return torch.full((), float(number), device=like.device)
