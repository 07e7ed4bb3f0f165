"""Classification loss: softmax focal loss or cross-entropy, mean over images and classes."""

import torch
import torch.nn.functional as F  # noqa: N812 -- PyTorch's own convention
from torch import Tensor

from panvision.training.losses.terms import Labels, LossContext, TaskLoss, Term, Terms, constant

# Below this difference of probabilities the focal weight is constant: for γ < 1 its slope at 0 is infinite.
LEAST_GAP = 1e-6


def _terms(logits: Tensor, labels: Labels, context: LossContext) -> Terms:
    """Return `cls` from logits (B, C) and class labels (B,) int64.

    Cross-entropy with targets q (label smoothing: Szegedy et al. 2016) is -Σ q_c · log p_c. The focal loss weights each
    class by |q_c - p_c|^γ. With hard labels that is equation 4 of Lin et al. 2017 (https://arxiv.org/abs/1708.02002);
    with soft ones it is the form of the quality focal loss (Li et al. 2020, https://arxiv.org/abs/2006.04388), whose
    minimum is at p = q.

    The loss is the mean over classes, as the box loss is the mean over coordinates. With the sum, three quarters of the
    gradient on the backbone came from this task at equal shares of the formula (docs/results.md, "Loss balance").
    """
    settings = context.settings
    log_p = F.log_softmax(logits.float(), dim=1)  # (B, C)
    target = _targets(labels["classes"], logits.shape[1], context)
    losses = -target * log_p
    if settings.state == "focal":
        gap = (target - 1 - torch.expm1(log_p)).abs()  # |q - p|, exact where p is near 1
        losses = gap.clamp_min(LEAST_GAP).pow(settings.focal_gamma) * losses
    return {"cls": Term(losses.mean(dim=1).sum(), _counts(labels, context)["cls"])}


def _targets(classes: Tensor, count: int, context: LossContext) -> Tensor:
    """Return the soft labels (B, C) of class labels (B,)."""
    settings = context.settings
    target = classes[:, None] == torch.arange(count, device=classes.device)  # one_hot would read numbers on the CPU
    if context.places is not None:
        beside = (context.places[classes][:, None] - context.places).abs() == 1  # (B, C)
        count_beside = beside.sum(1, keepdim=True)
        share = settings.ordinal * (count_beside > 0)  # a single class has nothing beside it
        target = target * (1 - share) + share * beside / count_beside.clamp(min=1)
    return target * (1 - settings.label_smoothing) + settings.label_smoothing / count


def _counts(labels: Labels, context: LossContext) -> dict[str, Tensor]:
    return {"cls": constant(len(labels["classes"]), labels["classes"])}


LOSS = TaskLoss(terms=("cls",), compute=_terms, count=_counts)
