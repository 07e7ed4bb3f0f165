"""Coverage loss: binary cross-entropy of the covered fraction, mean over images."""

import torch.nn.functional as F  # noqa: N812 -- PyTorch's own convention
from torch import Tensor

from panvision.training.losses.terms import Labels, LossContext, TaskLoss, Term, Terms, constant


def _terms(logits: Tensor, labels: Labels, context: LossContext) -> Terms:
    fractions = labels["masks"].float().mean((1, 2, 3)) / 255  # (B,)
    total = F.binary_cross_entropy_with_logits(logits.float(), fractions, reduction="sum")
    return {"cov": Term(total, _counts(labels, context)["cov"])}


def _counts(labels: Labels, context: LossContext) -> dict[str, Tensor]:
    return {"cov": constant(len(labels["masks"]), context.points.xy)}


LOSS = TaskLoss(terms=("cov",), compute=_terms, count=_counts)
