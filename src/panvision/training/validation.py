"""The validation split: every loss and each task's metric, without augmentation."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from panvision.core.tasks import TASKS, Task
from panvision.decoding.decoder import ModelShape, Thresholds
from panvision.decoding.table import DECODERS
from panvision.model.flat import flat_outputs
from panvision.model.multitask import MultiTaskModel, Outputs
from panvision.scoring.table import SCORERS, score
from panvision.training.data.batches import NO_OBJECT, Batch, labelled_batch
from panvision.training.data.sets import Sets
from panvision.training.ddp import Ranks
from panvision.training.losses import batch_terms, crossed_runs, task_losses
from panvision.training.losses.terms import LossContext, Term, Terms
from panvision.training.optimisation import Precision
from panvision.training.settings import TrainSettings

# Validation ranks models of one run, so its thresholds are not params: low scores count, as in evaluation.
THRESHOLDS = Thresholds(score=0.01, nms=0.5, max_detections=100)


@dataclass(frozen=True)
class Validation:
    """Losses and metrics of a model on the validation split.

    Attributes:
        losses: by name, of the model's tasks; of two models with one score the best has the lowest `total`.
        metrics: by key of each task's first headline metric: fractions on packed images; None where undefined.
        unsound: by dataset, the files of the first batch whose losses are not finite; it is not scored.
        calibration: values of `ModelShape` that fit the split best, such as `temperature`.
    """

    losses: dict[str, float]
    metrics: dict[str, float | None]
    unsound: dict[str, list[str]]
    calibration: dict[str, float] = field(default_factory=dict)

    @property
    def score(self) -> float:
        """The mean of the metrics that are defined; the best model has the highest. Without any, 0."""
        defined = [value for value in self.metrics.values() if value is not None]
        return sum(defined) / len(defined) if defined else 0.0


@dataclass
class _Part:
    """What one batch adds, on the CPU."""

    terms: Terms
    compared: dict[Task, list[Any]] = field(default_factory=dict)
    unsound: dict[str, list[str]] = field(default_factory=dict)


def validate(
    model: MultiTaskModel,
    sets: Sets,
    context: LossContext,
    train: TrainSettings,
    *,
    ranks: Ranks,
    between: Callable[[], None] = lambda: None,
) -> Validation:
    """Return losses and metrics on the validation split; the same for every batch size except for rounding.

    Ranks take batches alternately, and all get the whole result.

    Args:
        model: left in evaluation mode.
        sets: the datasets with their splits.
        context: of the losses.
        train: batch size and number formats.
        ranks: the processes that have the same model.
        between: called before each batch, by all ranks equally often.
    """
    autocast = Precision(ranks.device, train.amp).autocast
    size = 2 * train.batch_size // ranks.size
    batches = [
        (dataset, rows[first : first + size])
        for dataset, rows in sets.split("val", model.tasks).items()
        for first in range(0, len(rows), size)
    ]
    own: dict[int, _Part] = {}  # by the batch's number
    model.eval()
    with torch.inference_mode():
        for first in range(0, len(batches), ranks.size):
            between()
            number = first + ranks.rank
            if number < len(batches):
                dataset, rows = batches[number]
                batch = labelled_batch(sets.packed[dataset], rows)
                there = batch.to(ranks.device)
                tasks = [task for task in model.tasks if TASKS[task].dataset == dataset]
                crossed = [run for run in crossed_runs(model.tasks, context) if run[1] == dataset]
                with autocast():
                    outputs = model(there.images[dataset], tasks, {dataset: len(rows)}, crossed)
                own[number] = part = _Part(_on_cpu(batch_terms(outputs, there, context)))
                if all(term.total.isfinite() for term in part.terms.values()):
                    part.compared = _compare({task: outputs[task] for task in tasks}, batch, model)
                else:
                    part.unsound[dataset] = [sets.packed[dataset].files[row] for row in rows]
    found = {number: part for shard in ranks.gather(own) for number, part in shard.items()}
    return _combine([found[number] for number in range(len(batches))], model, context)


def _on_cpu(terms: Terms) -> Terms:
    return {name: Term(term.total.cpu(), term.count.cpu()) for name, term in terms.items()}


def _compare(outputs: Outputs, batch: Batch, model: MultiTaskModel) -> dict[Task, list[Any]]:
    """Decode a batch of one dataset, and return what each task's metrics need of every image."""
    shape = ModelShape(
        model.image_size, model.settings.strides, tuple(model.det_classes), tuple(model.cls_classes), THRESHOLDS
    )
    compared: dict[Task, list[Any]] = {}
    raw = {name: output.cpu().numpy() for name, output in flat_outputs(outputs).items()}
    (count,) = {len(output) for output in raw.values()}
    for task in outputs:
        truths = (_truth(batch, TASKS[task].dataset, row) for row in range(count))
        rows = ({name: raw[name][row] for name in TASKS[task].outputs} for row in range(count))
        found = (DECODERS[task].decode(own, shape, (model.image_size,) * 2) for own in rows)
        compared[task] = [SCORERS[task].compare(*pair) for pair in zip(found, truths, strict=True)]
    return compared


def _truth(batch: Batch, dataset: str, row: int) -> dict[str, Any]:
    """Return the labels of one image as the scorers take them."""
    labels = {name: values[row].numpy() for name, values in batch.labels[dataset].items()}
    if dataset == "segmentation":
        return {"mask": labels["masks"][0]}
    if dataset == "classification":
        return {"class_idx": int(labels["classes"])}
    used = labels["labels"] != NO_OBJECT
    return {"boxes": labels["boxes"][used], "labels": labels["labels"][used]}


def _combine(parts: list[_Part], model: MultiTaskModel, context: LossContext) -> Validation:
    """Return losses and metrics of all batches, in their order."""
    terms: Terms = {}
    compared: dict[Task, list[Any]] = {task: [] for task in model.tasks}
    unsound: dict[str, list[str]] = {}
    for part in parts:
        for name, term in part.terms.items():
            terms[name] = terms[name] + term if name in terms else term
        for task, own in part.compared.items():
            compared[task] += own
        unsound = {**part.unsound, **unsound}
    losses = {name: float(value) for name, value in task_losses(terms, context.settings).items()}
    metrics: dict[str, float | None] = {spec.metrics[0].key: None for spec in TASKS.values()}
    calibration: dict[str, float] = {}
    for task, own in compared.items():
        if (calibrate := SCORERS[task].calibrate) is not None:
            calibration |= calibrate(own)
        key = TASKS[task].metrics[0].key
        metrics[key] = score(task, own, model.classes[TASKS[task].dataset])[key]
    return Validation(losses, metrics, unsound, calibration)
