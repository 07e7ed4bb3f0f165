"""The minimised loss of a batch as one module, which DistributedDataParallel can wrap."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from panvision.model.multitask import MultiTaskModel, Outputs
from panvision.training.data.batches import Batch
from panvision.training.losses import batch_terms, crossed_runs, task_losses
from panvision.training.losses.terms import LossContext
from panvision.training.losses.weights import TaskWeights
from panvision.training.optimisation import Precision
from panvision.training.settings import TrainSettings


class Objective(nn.Module):
    """Forward pass, losses and their weights."""

    def __init__(
        self, model: MultiTaskModel, loss_weights: TaskWeights, context: LossContext, train: TrainSettings
    ) -> None:
        super().__init__()
        self.model, self.loss_weights, self.context = model, loss_weights, context
        self._autocast = Precision(context.points.xy.device, train.amp).autocast
        # In a tuple, so that the compiled model's weights are not listed twice. Validation is not compiled: it would be
        # a second compilation, for few passes.
        self._run = (torch.compile(model, dynamic=False) if train.compile else model,)

    def forward(self, batch: Batch, counts: dict[str, Tensor] | None, parts: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Return () the objective of one part of a batch, and its losses.

        Args:
            batch: on the device; passes the backbone once, all datasets together.
            counts: of the whole batch's terms, if it has several parts.
            parts: number of parts of the whole batch.
        """
        losses = self._losses(self._run[0], batch, counts)
        return self.loss_weights.objective(losses, parts=parts), losses

    def task_gradients(self, batch: Batch, counts: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the gradient of each weighted task loss by all trained weights of the backbone, (N,) each.

        It is measured in evaluation mode, so it changes neither BatchNorm's statistics nor random numbers. Without
        trained weights in the backbone there is nothing to measure.
        """
        shared = [weight for weight in self.model.backbone.parameters() if weight.requires_grad]
        if not shared:
            return {}
        self.model.eval()
        losses = self._losses(self.model, batch, counts)
        self.model.train()
        found = {}
        for name, weight in self.loss_weights.factors(losses).items():
            loss = weight * losses[name]
            gradients = torch.autograd.grad(loss, shared, retain_graph=True, materialize_grads=True)
            found[name] = torch.cat([gradient.flatten() for gradient in gradients])
        return found

    def _losses(
        self, model: Callable[..., Outputs], batch: Batch, counts: dict[str, Tensor] | None
    ) -> dict[str, Tensor]:
        images = torch.cat(list(batch.images.values()))
        counts_by_dataset = {name: len(own) for name, own in batch.images.items()}
        with self._autocast():
            outputs = model(images, self.model.tasks, counts_by_dataset, crossed_runs(self.model.tasks, self.context))
        return task_losses(batch_terms(outputs, batch, self.context), self.context.settings, counts)
