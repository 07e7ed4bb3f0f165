"""Segmentation loss: binary cross-entropy with the pan's share of each pixel, mean over pixels."""

import torch.nn.functional as F  # noqa: N812 -- PyTorch's own convention
from torch import Tensor

from panvision.training.losses.terms import Labels, LossContext, TaskLoss, Term, Terms, constant


def _terms(logits: Tensor, labels: Labels, context: LossContext) -> Terms:
    """Return `seg` from logits (B, 1, S, S) and masks (B, 1, S, S) uint8, 255 for all of a pixel."""
    shares = labels["masks"].float() / 255
    total = F.binary_cross_entropy_with_logits(logits.float(), shares, reduction="sum")
    return {"seg": Term(total, _counts(labels, context)["seg"])}


def _counts(labels: Labels, context: LossContext) -> dict[str, Tensor]:
    return {"seg": constant(labels["masks"].numel(), labels["masks"])}


LOSS = TaskLoss(terms=("seg",), compute=_terms, count=_counts)
