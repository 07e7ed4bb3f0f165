"""The validation split: every loss and each task's metric, without augmentation."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple

import torch

from panvision.core.tasks import TASKS, Task
from panvision.dataset.packed import CROWD, HALF_PAN
from panvision.decoding.decoder import ModelShape, Thresholds
from panvision.model.flat import flat_outputs
from panvision.model.multitask import MultiTaskModel, Outputs
from panvision.scoring.table import SCORERS, score
from panvision.training.batch_decoding import decode_batch
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


class _Pass(NamedTuple):
    """Outputs of the model for one batch, on its device; `labels` has the batch as it was before, on the CPU."""

    number: int
    labels: Batch
    outputs: Outputs
    terms: Terms


@dataclass
class _Part:
    """Contribution of one batch, on the CPU."""

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
    size = 2 * train.batch_size // ranks.size
    batches = [
        (dataset, rows[first : first + size])
        for dataset, rows in sets.split("val", model.tasks).items()
        for first in range(0, len(rows), size)
    ]
    autocast = Precision(ranks.device, train.amp).autocast

    def passes() -> Iterator[_Pass]:
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
                terms = batch_terms(outputs, there, context)
                yield _Pass(number, batch, {task: outputs[task] for task in tasks}, terms)

    own: dict[int, _Part] = {}  # by the batch's number
    model.eval()
    with torch.inference_mode():
        for each in _one_behind(passes()):
            own[each.number] = _part(each, sets, model, context)
    found = {number: part for shard in ranks.gather(own) for number, part in shard.items()}
    return _combine([found[number] for number in range(len(batches))], model, context)


def _one_behind(passes: Iterator[_Pass]) -> Iterator[_Pass]:
    """Yield each pass once the next one has been started: a GPU computes that while the CPU compares this one."""
    waiting = list(islice(passes, 1))
    for following in passes:
        yield waiting.pop()
        waiting.append(following)
    yield from waiting


def _part(found: _Pass, sets: Sets, model: MultiTaskModel, context: LossContext) -> _Part:
    """Return what a batch adds."""
    part = _Part(_on_cpu(found.terms))
    if all(term.total.isfinite() for term in part.terms.values()):
        part.compared = _compare(found, model, context)
    else:
        part.unsound = {
            dataset: [sets.packed[dataset].files[row] for row in rows] for dataset, rows in found.labels.rows.items()
        }
    return part


def _on_cpu(terms: Terms) -> Terms:
    """Return the terms, copied from their device in one piece."""
    values = torch.stack([value for term in terms.values() for value in (term.total, term.count)]).cpu()
    return {name: Term(*pair) for name, pair in zip(terms, values.split(2), strict=True)}


def _compare(found: _Pass, model: MultiTaskModel, context: LossContext) -> dict[Task, list[Any]]:
    """Decode a batch of one dataset, and return what each task's metrics need of every image."""
    shape = ModelShape(
        model.image_size, model.settings.strides, tuple(model.det_classes), tuple(model.cls_classes), THRESHOLDS
    )
    compared: dict[Task, list[Any]] = {}
    raw = flat_outputs(found.outputs)
    for task in found.outputs:
        own = {name: raw[name] for name in TASKS[task].outputs}
        results = decode_batch(task, own, shape, context.points)
        truths = (_truth(found.labels, TASKS[task].dataset, row) for row in range(len(results)))
        compared[task] = [SCORERS[task].compare(*pair) for pair in zip(results, truths, strict=True)]
    return compared


def _truth(batch: Batch, dataset: str, row: int) -> dict[str, Any]:
    """Return the labels of one image as the scorers take them."""
    labels = {name: values[row].numpy() for name, values in batch.labels[dataset].items()}
    if dataset == "segmentation":
        return {"mask": labels["masks"][0] >= HALF_PAN}
    if dataset == "classification":
        return {"class_idx": int(labels["classes"])}
    boxes, own = labels["boxes"], labels["labels"]
    used, crowd = own > NO_OBJECT, own <= CROWD
    return {"boxes": boxes[used], "labels": own[used], "crowds": boxes[crowd], "crowd_labels": CROWD - own[crowd]}


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
