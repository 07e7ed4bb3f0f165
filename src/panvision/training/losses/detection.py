"""Detection loss: FCOS's three terms (Tian et al. 2020, https://arxiv.org/abs/2006.09214)."""

import torch
import torch.nn.functional as F  # noqa: N812 -- PyTorch's own convention
from torch import Tensor

from panvision.dataset.packed import CROWD, HALF_PAN
from panvision.model.heads.detection import DetectionOutput, join_levels
from panvision.training.data.batches import NO_OBJECT
from panvision.training.losses.targets import Targets, assign_targets
from panvision.training.losses.terms import Labels, LossContext, TaskLoss, Term, Terms
from panvision.training.settings import LossSettings

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
    targets, class_logits = _targets(labels, context), join_levels(output.class_logits).float()  # (B, P, K)
    counts = _target_counts(targets)
    # (B, P, K): background is a row of false.
    wanted = targets.labels[..., None] == torch.arange(class_logits.shape[-1], device=class_logits.device)
    unknown = _unknown(targets, labels["labels"], class_logits.shape[-1])
    totals = _totals(output, targets, class_logits, wanted, context.settings, unknown=unknown)
    return {name: Term(total, counts[name]) for name, total in totals.items()}


def _totals(
    output: DetectionOutput,
    targets: Targets,
    class_logits: Tensor,
    wanted: Tensor,
    settings: LossSettings,
    *,
    unknown: Tensor | None = None,
) -> dict[str, Tensor]:
    """Return the three terms' sums, () each.

    Args:
        output: raw head outputs of B images.
        targets: of these images.
        class_logits: (B, P, C) float32 of the classes whose loss counts.
        wanted: (B, P, C) bool, true where the location's class is this one.
        settings: focal and box loss.
        unknown: (B, P, C) bool, true where the class is neither present nor absent; None: nowhere.
    """
    ltrb = join_levels(output.ltrb).float()  # (B, P, 4)
    centerness = join_levels(output.centerness)[..., 0].float()  # (B, P)
    positive = targets.labels != NO_OBJECT  # (B, P)

    class_losses = sigmoid_focal_loss(class_logits, wanted, alpha=settings.focal_alpha, gamma=settings.focal_gamma)
    if unknown is not None:
        class_losses = class_losses.masked_fill(unknown, 0.0)
    # Masked, not indexed: the shapes do not depend on the data, so a GPU need not wait for the CPU.
    weights = targets.centerness * positive  # (B, P)
    box_losses = _box_losses(ltrb, targets.ltrb.where(positive[..., None], ltrb.detach()), settings)  # (B, P)
    centerness_losses = _divergence(centerness, targets.centerness)
    return {
        "det_class": class_losses.sum(),
        "det_box": (box_losses * weights).sum(),
        "det_centerness": (centerness_losses * positive).sum(),
    }


def _unknown(targets: Targets, labels: Tensor, classes: int) -> Tensor:
    """Return (B, P, K), true where a class may be present or not: background inside a crowd of it."""
    of_class = (CROWD - labels)[..., None] == torch.arange(classes, device=labels.device)  # (B, M, K)
    crowded = targets.in_crowd.float() @ of_class.float() > 0
    return crowded & (targets.labels == NO_OBJECT)[..., None]


def _terms_from_masks(output: DetectionOutput, labels: Labels, context: LossContext) -> Terms:
    """Return `det_masks` of segmentation images: the three terms of the box around each mask, per positive location.

    The class loss is that of `loss.mask_class` alone: the other classes have no labels in these images.
    """
    targets = _targets(mask_boxes(labels["masks"], context.mask_class), context)
    first = context.mask_class
    class_logits = join_levels(output.class_logits).float()[..., first : first + 1]  # (B, P, 1)
    totals = _totals(output, targets, class_logits, targets.labels[..., None] == first, context.settings)
    return {"det_masks": Term(torch.stack([*totals.values()]).sum(), _target_counts(targets)["det_class"])}


def mask_boxes(masks: Tensor, label: int) -> dict[str, Tensor]:
    """Return the boxes around masks (B, 1, S, S) uint8, of pixels of which half is pan, as labels of detection."""
    inside = masks[:, 0] >= HALF_PAN  # (B, S, S)
    spans = [_span(inside.any(dim)) for dim in (1, 2)]  # of columns, of rows
    (x1, x2), (y1, y2) = spans
    boxes = torch.stack([x1, y1, x2, y2], dim=-1).float()[:, None]  # (B, 1, 4)
    found = inside.flatten(1).any(1)[:, None]  # (B, 1)
    return {"boxes": boxes * found[..., None], "labels": torch.where(found, label, NO_OBJECT)}


def _span(used: Tensor) -> tuple[Tensor, Tensor]:
    """Return (B,) int64 twice: the first place of (B, S) that is true, and the one after the last."""
    places = torch.arange(used.shape[1], device=used.device)
    return places.where(used, used.shape[1]).amin(1), (places + 1).where(used, 0).amax(1)


def _counts_from_masks(labels: Labels, context: LossContext) -> dict[str, Tensor]:
    targets = _targets(mask_boxes(labels["masks"], context.mask_class), context)
    return {"det_masks": _target_counts(targets)["det_class"]}


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


LOSS = TaskLoss(
    terms=("det_class", "det_box", "det_centerness"),
    compute=_terms,
    count=_counts,
    averaged=True,
    crossed={"segmentation": TaskLoss(terms=("det_masks",), compute=_terms_from_masks, count=_counts_from_masks)},
)
