"""Weights of the tasks' losses in the loss that is minimised: fixed, or learned with it."""

from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn

from panvision.core.tasks import TASKS
from panvision.training.settings import LossSettings


def loss_weights(settings: LossSettings) -> dict[str, float]:
    """Return the weight of each task's loss; a task without a key in the `loss` section has 1."""
    return {spec.loss: getattr(settings, spec.loss, 1.0) for spec in TASKS.values()}


class TaskWeights(nn.Module):
    """Minimised loss: a sum over the tasks t with their losses L_t.

    `fixed`: L = Σ w_t · L_t with the weights w_t of params.yaml.

    `uncertainty` (Kendall, Gal and Cipolla 2018, "Multi-Task Learning Using Uncertainty to Weigh Losses", equation 10,
    with s = log σ² as in its section 3.2): L = Σ w_t · (exp(-s_t) · L_t + s_t / 2), s_t learned from 0. That is
    the paper's term for classification, used for all tasks. Its term for regression has ½ exp(-s), which is the same up
    to a constant after a shift of s by log 2, so it would only start at half the weight; and detection is both (two of
    its three terms classify). The fixed weights multiply a task's whole term: as factors of L_t alone they would be
    learned away, because the best s_t would absorb log w_t. So a task's loss has the weight w_t at the start and
    w_t / (2 L_t) at the best s_t. A task with weight 0 is off.

    Attributes:
        log_variances: s_t by task, () float32 each; empty if the weights are fixed.
    """

    def __init__(self, settings: LossSettings) -> None:
        super().__init__()
        self._fixed = loss_weights(settings)
        learned = self._fixed if settings.weighting == "uncertainty" else ()
        self.log_variances = nn.ParameterDict({task: nn.Parameter(torch.zeros(())) for task in learned})

    def objective(self, losses: Mapping[str, Tensor], *, parts: int = 1) -> Tensor:
        """Return () float32, the loss that is minimised.

        Args:
            losses: from `task_losses`, with `total`.
            parts: number of parts of the batch whose objectives are added up.
        """
        if not len(self.log_variances):
            return losses["total"]
        terms = [
            self._fixed[task] * (torch.exp(-variance) * losses[task] + variance / (2 * parts))
            for task, variance in self.log_variances.items()
            if task in losses
        ]
        return torch.stack(terms).sum()

    def current(self, losses: Collection[str]) -> dict[str, float]:
        """Return the present weight of each task among `losses` as `weight_<loss>`; waits for the device."""
        return {f"weight_{task}": weight for task, weight in self.factors(losses).items()}

    def factors(self, losses: Collection[str]) -> dict[str, float]:
        """Return the present weight of each task among `losses`; waits for the device."""
        learned = {task: float(torch.exp(-variance.detach())) for task, variance in self.log_variances.items()}
        return {task: weight * learned.get(task, 1.0) for task, weight in self._fixed.items() if task in losses}
