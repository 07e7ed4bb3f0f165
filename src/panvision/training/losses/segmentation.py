"""Segmentation loss: binary cross-entropy with the pan's share of each pixel, mean over pixels, and soft Dice."""

import torch
import torch.nn.functional as F  # noqa: N812 -- PyTorch's own convention
from torch import Tensor

from panvision.dataset.packed import CROWD
from panvision.training.losses.terms import Labels, LossContext, TaskLoss, Term, Terms, constant

# Added to Dice's denominator, in pixels: an empty mask has a loss of 0 for an empty answer, and finite gradients.
DICE_FLOOR = 1.0


def _terms(logits: Tensor, labels: Labels, context: LossContext) -> Terms:
    """Return `seg_bce` and `seg_dice` from logits (B, 1, S, S) and masks (B, 1, S, S), 255 for all of a pixel.

    `seg_dice` is multiplied by `loss.dice`; with 0 it is not computed.
    """
    logits, masks = logits.float(), labels["masks"].float() / 255
    counts, weight = _counts(labels, context), context.settings.dice
    total = F.binary_cross_entropy_with_logits(logits, masks, reduction="sum")
    dice = weight * dice_losses(logits.sigmoid(), masks).sum() if weight else constant(0, logits)
    return {"seg_bce": Term(total, counts["seg_bce"]), "seg_dice": Term(dice, counts["seg_dice"])}


def dice_losses(predicted: Tensor, wanted: Tensor) -> Tensor:
    """Return 1 - Dice of each image (Milletari et al. 2016, https://arxiv.org/abs/1606.04797, section 3).

    With the paper's squares in the denominator, 1 - 2 Σ p·t / (Σ p² + Σ t²) is Σ (p - t)² / (Σ p² + Σ t²). It is least
    at p = t, also for targets between 0 and 1.

    Args:
        predicted: (B, ...) probabilities p.
        wanted: (B, ...) targets t, 0 to 1.

    Returns:
        (B,), 0 to 1.
    """
    p, t = predicted.flatten(1), wanted.flatten(1)
    return (p - t).square().sum(1) / (p.square().sum(1) + t.square().sum(1) + DICE_FLOOR)


def _terms_from_boxes(logits: Tensor, labels: Labels, context: LossContext) -> Terms:
    """Return `seg_boxes` of detection images: what the boxes of `loss.mask_class` say about the mask.

    The projections of the mask on both axes, its maxima over columns and over rows, are compared with those of all
    boxes by Dice (BoxInst, Tian et al. 2021, https://arxiv.org/abs/2012.02310, equation 1). Pixels outside all boxes
    are background, because every object has a box: the detection loss assumes it, too. Pixels inside a crowd and
    outside all boxes are left out: what is there is unknown.

    Args:
        logits: (B, 1, S, S).
        labels: of the detection dataset.
        context: with `mask_class`.
    """
    logits = logits[:, 0].float()  # (B, S, S)
    probabilities = logits.sigmoid()
    columns, rows = _spans(labels, context.mask_class, logits.shape[-1])  # (B, M, S) each
    outside = _covered(columns, rows) == 0  # (B, S, S)
    unknown = outside & (_covered(*_spans(labels, CROWD - context.mask_class, logits.shape[-1])) > 0)
    probabilities = probabilities.masked_fill(unknown, 0.0)
    projections = dice_losses(probabilities.amax(1), columns.amax(1)) + dice_losses(probabilities.amax(2), rows.amax(1))
    absent = (outside & ~unknown).float()  # (B, S, S)
    background = (F.softplus(logits) * absent).sum((1, 2)) / absent.sum((1, 2)).clamp(min=1.0)
    return {"seg_boxes": Term((projections + background).sum(), _counts_from_boxes(labels, context)["seg_boxes"])}


def _covered(columns: Tensor, rows: Tensor) -> Tensor:
    """Return (B, S, S) float32, by how many boxes each pixel is covered, from their columns and rows (B, M, S)."""
    return rows.transpose(1, 2) @ columns


def _spans(labels: Labels, label: int, side: int) -> tuple[Tensor, Tensor]:
    """Return (B, M, S) float32 twice: 1 for columns and rows whose centres are in a box with a label."""
    center = torch.arange(side, device=labels["boxes"].device) + 0.5  # (S,)
    chosen = labels["labels"].eq(label)[..., None]  # (B, M, 1)
    x1, y1, x2, y2 = labels["boxes"][..., None].unbind(2)  # (B, M, 1) each
    columns = (center > x1) & (center < x2) & chosen
    rows = (center > y1) & (center < y2) & chosen
    return columns.float(), rows.float()


def _counts_from_boxes(labels: Labels, context: LossContext) -> dict[str, Tensor]:
    return {"seg_boxes": constant(len(labels["boxes"]), labels["boxes"])}


def _counts(labels: Labels, context: LossContext) -> dict[str, Tensor]:
    masks = labels["masks"]
    return {"seg_bce": constant(masks.numel(), masks), "seg_dice": constant(len(masks), masks)}


LOSS = TaskLoss(
    terms=("seg_bce", "seg_dice"),
    compute=_terms,
    count=_counts,
    crossed={"detection": TaskLoss(terms=("seg_boxes",), compute=_terms_from_boxes, count=_counts_from_boxes)},
)
