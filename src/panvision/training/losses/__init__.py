"""Losses: one module per task, one row each in `LOSSES`, and their weighted sum."""

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor

from panvision.core.tasks import TASKS, Task
from panvision.model.multitask import CROSSED, Outputs
from panvision.training.data.batches import NO_OBJECT, Batch
from panvision.training.losses import classification, detection, segmentation
from panvision.training.losses.terms import LossContext, TaskLoss, Terms
from panvision.training.losses.weights import loss_weights
from panvision.training.settings import LossSettings

LOSSES: dict[Task, TaskLoss] = {
    "segmentation": segmentation.LOSS,
    "detection": detection.LOSS,
    "classification": classification.LOSS,
}


def loss_names() -> tuple[str, ...]:
    """Return the names of all losses as the curves list them: each task's loss, its terms if several, `total`."""
    names: list[str] = []
    for task, spec in TASKS.items():
        terms = LOSSES[task].all_terms
        names += [spec.loss, *(terms if len(terms) > 1 else ())]
    return (*names, "total")


def averaged_terms() -> set[str]:
    """Return the names of the terms that are divided by a running average of their counts."""
    return {name for loss in LOSSES.values() if loss.averaged for name in loss.all_terms}


def crossed_runs(tasks: Collection[Task], context: LossContext) -> list[tuple[Task, str]]:
    """Return the heads that also learn from another task's dataset, (task, dataset) each."""
    if context.mask_class == NO_OBJECT:
        return []
    return [(task, dataset) for task in tasks for dataset in LOSSES[task].crossed]


def batch_terms(outputs: Outputs, batch: Batch, context: LossContext) -> Terms:
    """Return all terms of one batch; tasks whose output is absent are left out."""
    terms: Terms = {}
    for run, output in outputs.items():
        loss, dataset = _loss_of(run)
        terms |= loss.compute(output, batch.labels[dataset], context)
    return terms


def _loss_of(run: str) -> tuple[TaskLoss, str]:
    """Return the loss of an output of the model, and the dataset whose labels it takes."""
    task, _, dataset = run.partition(CROSSED)
    return (LOSSES[task].crossed[dataset], dataset) if dataset else (LOSSES[task], TASKS[task].dataset)


def whole_counts(batches: Sequence[Batch], tasks: Sequence[Task], context: LossContext) -> dict[str, Tensor]:
    """Return the counts of all terms over several batches; they follow from the labels alone, without a model."""
    counts: dict[str, Tensor] = {}
    runs = [*tasks, *(task + CROSSED + dataset for task, dataset in crossed_runs(tasks, context))]
    for batch in batches:
        for loss, dataset in map(_loss_of, runs):
            found = loss.count(batch.labels[dataset], context)
            counts |= {name: counts[name] + count if name in counts else count for name, count in found.items()}
    return counts


def task_losses(terms: Terms, settings: LossSettings, counts: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    """Return the mean of every term, the loss of every task as the sum of its terms, and `total` = L.

    L = Σ weight · loss over the tasks that have terms, with the weights of the `loss` section.

    Args:
        terms: of one batch, or of several added up.
        settings: the weights.
        counts: if the terms are those of a part, the counts of the whole (`whole_counts`): the losses are then what
            the part adds to the whole's. Means of parts would weight a location by the number of others in its part.
    """
    losses = {name: term.mean() if counts is None else term.part_of(counts[name]) for name, term in terms.items()}
    weights = loss_weights(settings)
    weighted: list[Tensor] = []
    for task, spec in TASKS.items():
        parts = [losses[name] for name in LOSSES[task].all_terms if name in losses]
        if parts:
            losses[spec.loss] = parts[0] if len(parts) == 1 else torch.stack(parts).sum()
            weighted.append(weights[spec.loss] * losses[spec.loss])
    losses["total"] = torch.stack(weighted).sum()
    return losses
