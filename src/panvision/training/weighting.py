"""What each task's loss counts in the loss that is minimised: fixed weights, or weights that are learned with it."""

from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn

from panvision.training.settings import LossSettings


class TaskWeights(nn.Module):
    """The minimised loss as a sum over the tasks t with their losses L_t.

    `fixed`: L = Σ w_t · L_t with the weights w_t of params.yaml.

    `uncertainty` (Kendall, Gal and Cipolla 2018, "Multi-Task Learning Using Uncertainty to Weigh Losses", equation 10,
    with s = log σ² as its section 3.2 advises): L = Σ w_t · (exp(-s_t) · L_t + s_t / 2), s_t learned from 0. That is
    the paper's term for a classification, taken for all three tasks. Its term for a regression has ½ exp(-s) instead,
    which is the same up to a constant after a shift of s by log 2, so it would only begin at half the weight; and
    detection is both (two of its three parts classify). The fixed weights multiply a task's whole term: as factors of
    L_t alone they would be learned away, for the best s_t would take log w_t up. So at the best s_t a task's loss
    counts w_t / (2 L_t), and at the start w_t. A task with weight 0 is off.

    Attributes:
        log_variances: s_t by task, () float32 each; empty if the weights are fixed.
    """

    def __init__(self, settings: LossSettings) -> None:
        super().__init__()
        self._fixed = {"seg": settings.seg, "det": settings.det, "cls": settings.cls}
        learned = self._fixed if settings.weighting == "uncertainty" else ()
        self.log_variances = nn.ParameterDict({task: nn.Parameter(torch.zeros(())) for task in learned})

    def objective(self, losses: Mapping[str, Tensor], *, parts: int = 1) -> Tensor:
        """() float32, what is minimised.

        Args:
            losses: as `task_losses` gives them, `total` among them.
            parts: into how many parts the batch was divided whose objectives are added up.
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
        """What the loss of each task among `losses` counts now, `weight_<task>`; waits for the device."""
        factors = {task: float(torch.exp(-variance.detach())) for task, variance in self.log_variances.items()}
        return {
            f"weight_{task}": weight * factors.get(task, 1.0) for task, weight in self._fixed.items() if task in losses
        }
