"""Detection loss: FCOS's three terms (Tian et al. 2020, https://arxiv.org/abs/2006.09214)."""

import torch
import torch.nn.functional as F  # noqa: N812 -- PyTorch's own convention
from torch import Tensor

from panvision.dataset.packed import CROWD
from panvision.model.heads.detection import DetectionOutput, join_levels
from panvision.training.data.batches import NO_OBJECT
from panvision.training.losses.terms import Labels, LossContext, TaskLoss, Term, Terms
from panvision.training.settings import LossSettings
from panvision.training.targets import Targets, assign_targets

# Smooth L1 turns from quadratic to linear at this distance, in strides.
SMOOTH_L1_BETA = 1.0


def _terms(output: DetectionOutput, labels: Labels, context: LossContext) -> Terms:
    """Return FCOS's three terms.

    Args:
        output: raw head outputs of B images.
        labels: `boxes` (B, M, 4) xyxy in pixels and `labels` (B, M) int64; NO_OBJECT marks unused rows.
        context: FCOS locations; focal, box loss and centre radius.

    Returns:
        `det_class`: sigmoid focal loss over all locations, per positive location, without the class of a crowd at
        background locations inside it (COCO's `iscrowd`: what is found there is neither right nor wrong). `det_box`:
        Smooth L1 on stride-normalised distances (mean of the four) or GIoU, weighted by centerness. `det_centerness`:
        divergence from the target centerness, per positive location. Without a positive location the last two are 0,
        with a gradient of 0 for every parameter.
    """
    settings = context.settings
    class_logits = join_levels(output.class_logits).float()  # (B, P, K)
    ltrb = join_levels(output.ltrb).float()  # (B, P, 4)
    centerness = join_levels(output.centerness)[..., 0].float()  # (B, P)
    targets = _targets(labels, context)
    positive = targets.labels != NO_OBJECT  # (B, P)
    counts = _target_counts(targets)

    # (B, P, K): background is a row of false.
    wanted = targets.labels[..., None] == torch.arange(class_logits.shape[-1], device=class_logits.device)
    class_losses = sigmoid_focal_loss(class_logits, wanted, alpha=settings.focal_alpha, gamma=settings.focal_gamma)
    class_losses = class_losses.masked_fill(_unknown(targets, labels["labels"], class_logits.shape[-1]), 0.0)
    # Masked, not indexed: the shapes do not depend on the data, so a GPU need not wait for the CPU.
    weights = targets.centerness * positive  # (B, P)
    box_losses = _box_losses(ltrb, targets.ltrb.where(positive[..., None], ltrb.detach()), settings)  # (B, P)
    centerness_losses = _divergence(centerness, targets.centerness)
    return {
        "det_class": Term(class_losses.sum(), counts["det_class"]),
        "det_box": Term((box_losses * weights).sum(), counts["det_box"]),
        "det_centerness": Term((centerness_losses * positive).sum(), counts["det_centerness"]),
    }


def _unknown(targets: Targets, labels: Tensor, classes: int) -> Tensor:
    """Return (B, P, K), true where a class may be present or not: background inside a crowd of it."""
    of_class = (CROWD - labels)[..., None] == torch.arange(classes, device=labels.device)  # (B, M, K)
    crowded = targets.in_crowd.float() @ of_class.float() > 0
    return crowded & (targets.labels == NO_OBJECT)[..., None]


def _targets(labels: Labels, context: LossContext) -> Targets:
    return assign_targets(
        context.points, labels["boxes"], labels["labels"], center_radius=context.settings.center_radius
    )


def _counts(labels: Labels, context: LossContext) -> dict[str, Tensor]:
    return _target_counts(_targets(labels, context))


def _target_counts(targets: Targets) -> dict[str, Tensor]:
    """Return what the terms are divided by: positive locations; for the box loss, their weights."""
    positive = targets.labels != NO_OBJECT  # (B, P)
    positives = positive.sum().float()
    return {
        "det_class": positives,
        "det_box": (targets.centerness * positive).sum(),
        "det_centerness": positives,
    }


def _box_losses(predicted: Tensor, wanted: Tensor, settings: LossSettings) -> Tensor:
    """Return the loss of each location's distances to the edges of its box, (..., 4) in strides → (...)."""
    if settings.box == "smooth_l1":
        return F.smooth_l1_loss(predicted, wanted, beta=SMOOTH_L1_BETA, reduction="none").mean(-1)
    from torchvision.ops import generalized_box_iou_loss  # importing torchvision takes a second

    return generalized_box_iou_loss(_corners(predicted), _corners(wanted), reduction="none")


def _divergence(logits: Tensor, target: Tensor) -> Tensor:
    """Return the Kullback-Leibler divergence of probabilities from targets in 0..1: cross-entropy less its least value.

    Its gradient is that of the cross-entropy. The entropy of the targets, which no model can change, would be most of
    the loss that is reported.
    """
    entropy = F.binary_cross_entropy(target, target, reduction="none")
    return F.binary_cross_entropy_with_logits(logits, target, reduction="none") - entropy


def _corners(ltrb: Tensor) -> Tensor:
    """Return boxes (..., 4) as x1, y1, x2, y2 seen from their location."""
    return torch.cat([-ltrb[..., :2], ltrb[..., 2:]], dim=-1)


def sigmoid_focal_loss(logits: Tensor, wanted: Tensor, *, alpha: float, gamma: float) -> Tensor:
    """Return the focal loss of independent classes (Lin et al. 2017, https://arxiv.org/abs/1708.02002, equation 5).

    Args:
        logits: (...).
        wanted: (...) bool, true where the class is present.
        alpha: weight of present classes; absent classes have 1 - alpha.
        gamma: how strongly certain answers are weighted down.

    Returns:
        (...), -α_t · (1 - p_t)^γ · log p_t with p_t the probability of the target.
    """
    wrong = logits.where(~wanted, -logits)  # 1 - p_t = sigmoid(wrong), -log p_t = softplus(wrong)
    weight = torch.where(wanted, alpha, 1.0 - alpha)
    # By the logarithm: for γ < 1 the slope of a power is infinite at 0.
    return weight * torch.exp(gamma * F.logsigmoid(wrong)) * F.softplus(wrong)


LOSS = TaskLoss(terms=("det_class", "det_box", "det_centerness"), compute=_terms, count=_counts, averaged=True)
