"""The validation split: every loss and each task's metric, without augmentation."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from panvision.core.tasks import TASKS, Task
from panvision.decoding.boxes import Thresholds, select
from panvision.decoding.points import level_points
from panvision.model.heads import HEADS
from panvision.model.multitask import MultiTaskModel, Outputs
from panvision.scoring.classification import classification_scores
from panvision.scoring.detection import coco_scores
from panvision.scoring.segmentation import pixel_counts, segmentation_scores
from panvision.training.data.batches import NO_OBJECT, Batch, labelled_batch
from panvision.training.data.sets import Sets
from panvision.training.ddp import Ranks
from panvision.training.losses import batch_terms, task_losses
from panvision.training.losses.terms import LossContext, Term, Terms
from panvision.training.optimisation import Precision
from panvision.training.settings import TrainSettings

# Validation ranks models of one run, so its thresholds are not params: low scores count, as in evaluation.
THRESHOLDS = Thresholds(score=0.01, nms=0.5, max_detections=100)


@dataclass(frozen=True)
class Validation:
    """Losses and metrics of a model on the validation split.

    Attributes:
        losses: by name, of the model's tasks; the best model has the lowest `total`.
        metrics: by key of each task's first headline metric: fractions on packed images; None where undefined.
        unsound: by dataset, the files of the first batch whose losses are not finite; it is not scored.
    """

    losses: dict[str, float]
    metrics: dict[str, float | None]
    unsound: dict[str, list[str]]


@dataclass
class _Part:
    """What one batch adds, on the CPU."""

    terms: Terms = field(default_factory=dict)
    records: dict[Task, list[Any]] = field(default_factory=dict)
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
    datasets = {TASKS[task].dataset for task in model.tasks}
    batches = [
        (dataset, rows[first : first + size])
        for dataset, rows in sets.split("val", datasets).items()
        for first in range(0, len(rows), size)
    ]
    own: dict[int, _Part] = {}  # by the batch's number
    model.eval()
    with torch.inference_mode():
        for first in range(0, len(batches), ranks.size):
            between()
            number = first + ranks.rank
            if number < len(batches):
                own[number] = _look(model, sets, batches[number], context, ranks.device, autocast)
    found = {number: part for shard in ranks.gather(own) for number, part in shard.items()}
    return _combined([found[number] for number in range(len(batches))], model, context)


def _look(model, sets, chosen, context, device, autocast) -> _Part:
    """Return what one batch adds."""
    dataset, rows = chosen
    packed, part = sets.packed[dataset], _Part()
    batch = labelled_batch(packed, rows)
    there = batch.to(device)
    tasks = [task for task in model.tasks if TASKS[task].dataset == dataset]
    with autocast():
        outputs = model(there.images[dataset], tasks)
    terms = batch_terms(outputs, there, context)
    part.terms = {name: Term(term.total.cpu(), term.count.cpu()) for name, term in terms.items()}
    if all(term.total.isfinite() for term in part.terms.values()):
        part.records = _records(outputs, batch, model)
    else:
        part.unsound[dataset] = [packed.files[row] for row in rows]
    return part


def _records(outputs: Outputs, batch: Batch, model: MultiTaskModel):
    found = {}
    points = level_points(model.image_size, model.settings.strides)
    for task, output in outputs.items():
        raw = [value.float().cpu().numpy() for value in HEADS[task].flatten(output)]
        labels = {name: value.numpy() for name, value in batch.labels[TASKS[task].dataset].items()}
        if task == "segmentation":
            found[task] = [pixel_counts(t[0], p > 0) for t, p in zip(labels["masks"], raw[0])]
        elif task == "classification":
            found[task] = [(int(t), int(p.argmax())) for t, p in zip(labels["classes"], raw[0])]
        else:
            rec = []
            for row in range(len(raw[0])):
                used = labels["labels"][row] != NO_OBJECT
                b = select(
                    raw[0][row],
                    raw[1][row],
                    raw[2][row],
                    points=points,
                    image_size=model.image_size,
                    thresholds=THRESHOLDS,
                )
                rec.append(((labels["boxes"][row][used], labels["labels"][row][used]), (b.boxes, b.labels, b.scores)))
            found[task] = rec
    return found


def _combined(parts: list[_Part], model: MultiTaskModel, context: LossContext) -> Validation:
    terms: Terms = {}
    records: dict[Task, list[Any]] = {}
    unsound: dict[str, list[str]] = {}
    for part in parts:
        for name, term in part.terms.items():
            terms[name] = terms[name] + term if name in terms else term
        for task, own in part.records.items():
            records.setdefault(task, []).extend(own)
        unsound = {**part.unsound, **unsound}
    losses = {name: float(value) for name, value in task_losses(terms, context.settings).items()}
    det = records.get("detection", [])
    cls = records.get("classification", [])
    metrics = {
        "miou": segmentation_scores(records.get("segmentation", []))["miou"],
        "map50": coco_scores([t for t, _ in det], [p for _, p in det], model.det_classes)["map50"],
        "accuracy": classification_scores([t for t, _ in cls], [p for _, p in cls], model.cls_classes)["accuracy"],
    }
    return Validation(losses, metrics, unsound)
