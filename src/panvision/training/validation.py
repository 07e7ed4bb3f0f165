"""The validation split: every loss and the three metrics, without augmentation."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from panvision.decoding.boxes import Thresholds, select
from panvision.decoding.points import level_points
from panvision.model.flat import join_levels
from panvision.model.heads import DetectionOutput
from panvision.model.multitask import MultiTaskModel, Outputs
from panvision.scoring.classification import classification_scores
from panvision.scoring.detection import Prediction, Truth, coco_scores
from panvision.scoring.segmentation import Counts, pixel_counts, segmentation_scores
from panvision.training.data.batches import NO_OBJECT, Batch, labelled_batch
from panvision.training.data.sets import Sets
from panvision.training.distributed import Alone, Ranks
from panvision.training.losses import Term, Terms, batch_terms, task_losses
from panvision.training.settings import LossSettings
from panvision.training.targets import make_points

# Validation ranks models of one run, so its thresholds are no params: low scores count, as in evaluation.
THRESHOLDS = Thresholds(score=0.01, nms=0.5, max_detections=100)


@dataclass(frozen=True)
class Validation:
    """How good a model is on the validation split.

    Attributes:
        losses: by term, of the model's tasks; `total` is what the best model is chosen by.
        miou, map50, accuracy: fractions, on packed images; None where undefined, as without the task.
        unsound: by task, the files of the first batch whose losses are not finite; its predictions are not scored.
    """

    losses: dict[str, float]
    miou: float | None
    map50: float | None
    accuracy: float | None
    unsound: dict[str, list[str]]


@dataclass
class _Collected:
    """What batches added up to; all of it on the CPU."""

    terms: Terms = field(default_factory=dict)
    pixels: list[Counts] = field(default_factory=list)
    true_boxes: list[Truth] = field(default_factory=list)
    found_boxes: list[Prediction] = field(default_factory=list)
    true_states: list[int] = field(default_factory=list)
    found_states: list[int] = field(default_factory=list)
    unsound: dict[str, list[str]] = field(default_factory=dict)

    def add_terms(self, terms: Terms) -> None:
        for name, term in terms.items():
            here = Term(term.total.cpu(), term.count.cpu())
            self.terms[name] = self.terms[name] + here if name in self.terms else here

    def add(self, other: "_Collected") -> None:
        self.add_terms(other.terms)
        self.pixels += other.pixels
        self.true_boxes += other.true_boxes
        self.found_boxes += other.found_boxes
        self.true_states += other.true_states
        self.found_states += other.found_states
        self.unsound = {**other.unsound, **self.unsound}


def validate(
    model: MultiTaskModel,
    sets: Sets,
    settings: LossSettings,
    *,
    batch_size: int,
    autocast: Callable[[], Any],
    ranks: Ranks | None = None,
    between: Callable[[], None] = lambda: None,
) -> Validation:
    """Losses and metrics on the validation split; the same for every batch size but for rounding.

    Ranks take turns at the batches, and all get the whole result.

    Args:
        model: left in evaluation mode.
        sets: whose `val` split is looked at.
        settings: loss weights and forms.
        batch_size: images in one pass.
        autocast: makes the context of the forward pass.
        ranks: who has the same model; by default this process alone.
        between: called before each batch, by all ranks equally often.
    """
    ranks = ranks or Alone()
    device = model.pixel_mean.device
    points = make_points(model.image_size, model.settings.strides).to(device)
    places = level_points(model.image_size, model.settings.strides)
    batches = [
        (task, rows[start : start + batch_size])
        for task, rows in sets.split("val", model.tasks).items()
        for start in range(0, len(rows), batch_size)
    ]
    own: dict[int, _Collected] = {}  # by the batch's number
    model.eval()
    with torch.inference_mode():
        for first in range(0, len(batches), ranks.size):
            between()
            number = first + ranks.rank
            if number < len(batches):
                task, rows = batches[number]
                batch = labelled_batch(sets.packed[task], rows)
                there = batch.to(device)
                with autocast():
                    outputs = model(there.images[task], (task,))
                terms = batch_terms(outputs, there, points, settings)
                own[number] = _Collected()
                own[number].add_terms(terms)
                if all(term.total.isfinite() for term in terms.values()):
                    _collect(own[number], outputs, batch, places)
                else:
                    own[number].unsound[task] = [sets.packed[task].files[row] for row in rows]
    found = {number: part for shares in ranks.gather(own) for number, part in shares.items()}
    collected = _Collected()
    for number in range(len(batches)):
        collected.add(found[number])
    losses = {name: float(value) for name, value in task_losses(collected.terms, settings).items()}
    return Validation(
        losses,
        miou=segmentation_scores(collected.pixels)["miou"],
        map50=coco_scores(collected.true_boxes, collected.found_boxes, model.det_classes)["map50"],
        accuracy=classification_scores(collected.true_states, collected.found_states, model.cls_classes)["accuracy"],
        unsound=collected.unsound,
    )


def _collect(
    collected: _Collected,
    outputs: Outputs,
    batch: Batch,
    places: tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]],
) -> None:
    """Add one batch's predictions and what is true of it."""
    if "segmentation" in outputs:
        found = (outputs["segmentation"] > 0).cpu().numpy()
        masks = batch.labels["segmentation"]["masks"].numpy()
        collected.pixels += [pixel_counts(*pair) for pair in zip(masks[:, 0], found[:, 0], strict=True)]
    if "detection" in outputs:
        collected.true_boxes += _true_boxes(batch)
        collected.found_boxes += _found_boxes(
            outputs["detection"], places, image_size=batch.images["detection"].shape[-1]
        )
    if "classification" in outputs:
        collected.true_states += batch.labels["classification"]["classes"].tolist()
        collected.found_states += outputs["classification"].argmax(1).tolist()


def _true_boxes(batch: Batch) -> list[Truth]:
    boxes, labels = (batch.labels["detection"][name].numpy() for name in ("boxes", "labels"))
    used = labels != NO_OBJECT
    return [(boxes[row][used[row]], labels[row][used[row]]) for row in range(len(labels))]


def _found_boxes(
    output: DetectionOutput, places: tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]], *, image_size: int
) -> list[Prediction]:
    class_logits, ltrb, centerness = (join_levels(levels).float().cpu().numpy() for levels in output)
    predictions: list[Prediction] = []
    for row in range(len(ltrb)):
        found = select(
            class_logits[row],
            ltrb[row],
            centerness[row, :, 0],
            points=places,
            image_size=image_size,
            thresholds=THRESHOLDS,
        )
        predictions.append((found.boxes, found.labels, found.scores))
    return predictions
