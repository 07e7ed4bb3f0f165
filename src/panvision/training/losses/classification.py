"""Classification loss: softmax focal loss or cross-entropy, mean over images."""

import torch.nn.functional as F  # noqa: N812 -- PyTorch's own convention
from torch import Tensor

from panvision.training.losses.terms import Labels, LossContext, TaskLoss, Term, Terms, constant


def _terms(logits: Tensor, labels: Labels, context: LossContext) -> Terms:
    """Return `cls` from logits (B, C) and class labels (B,) int64.

    The focal loss is equation 5 of Lin et al. 2017 (https://arxiv.org/abs/1708.02002), over classes.
    """
    settings, classes = context.settings, labels["classes"]
    logits = logits.float()
    losses = F.cross_entropy(logits, classes, label_smoothing=settings.label_smoothing, reduction="none")  # (B,)
    if settings.state == "focal":
        certainty = logits.softmax(1).gather(1, classes[:, None])[:, 0]  # probability of the true class
        losses = settings.focal_alpha * (1 - certainty).pow(settings.focal_gamma) * losses
    return {"cls": Term(losses.sum(), _counts(labels, context)["cls"])}


def _counts(labels: Labels, context: LossContext) -> dict[str, Tensor]:
    return {"cls": constant(len(labels["classes"]), labels["classes"])}


LOSS = TaskLoss(terms=("cls",), compute=_terms, count=_counts)
