"""The shipped Predictor on raw pictures of a split, scored against the raw truth.

Masks and boxes are compared in the pictures' own pixels, so that what is scored is what a user gets.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from panvision.core.files import write_json, write_rows
from panvision.core.tasks import DATASETS, TASKS
from panvision.dataset.packed import PackedSet, Split
from panvision.evaluation.calibration import fit_temperature
from panvision.evaluation.figures import scores
from panvision.evaluation.pictures import Source, box_images, mask_images, open_source, state_images
from panvision.evaluation.plots import confusion_rows, precision_recall_rows, reliability_rows
from panvision.evaluation.results import Choices, Results
from panvision.evaluation.settings import EvaluationSettings
from panvision.evaluation.thresholds import best_threshold
from panvision.inference.predictor import Predictor
from panvision.photos.settings import DataSettings

SCORED_ON: Split = "test"
CHOSEN_ON: Split = "val"


class EvaluationError(ValueError):
    """Model, data and settings do not belong together; the message names them and the remedy."""


@dataclass(frozen=True)
class Evaluation:
    """Scores of the test split and what the plots show; every figure of a task that the model has not is None.

    Attributes:
        segmentation: `{"images", "miou", "iou": {"background", "pan"}, "dice", "precision", "recall",
            "boundary_images", "boundary_mean_px", "boundary_p95_px", "boundary_mean", "boundary_p95", "ci95"}`.
        detection: `{"images", "map50", "map50_95", "ap50": {name}, "map_small", "map_medium", "map_large",
            "threshold": {name}, "precision": {name}, "recall": {name}, "f1": {name}, "macro_f1", "ci95"}`.
        classification: `{"images", "accuracy", "balanced_accuracy", "recall": {name}, "precision": {name},
            "f1": {name}, "macro_f1", "threshold": {name}, "f1_at_threshold": {name}, "mae_states",
            "quadratic_kappa", "nll", "ece", "nll_scaled", "ece_scaled", "temperature", "ci95"}`.
        precision_recall: rows (class, recall, precision) at IoU 0.5.
        confusion: rows (actual, predicted), one per picture, class names.
        reliability: rows (probabilities, confidence, accuracy, images), one per bin with a picture.
        results: what was kept of each picture, by task.
        choices: what was chosen on the validation split.
    """

    segmentation: dict[str, Any]
    detection: dict[str, Any]
    classification: dict[str, Any]
    precision_recall: list[tuple[str, float, float]]
    confusion: list[tuple[str, str]]
    reliability: list[tuple[str, float, float, int]]
    results: dict[str, Results]
    choices: Choices

    def write(self, metrics: str | Path, plots: str | Path, results: str | Path) -> None:
        """Write `<metrics>/<task>.json`, the plots' tables and `<results>/<task>.json`."""
        for task in TASKS:
            self.results[task].write(Path(results) / f"{task}.json")
            write_json(Path(metrics) / f"{task}.json", getattr(self, task))
        write_rows(Path(plots) / "precision_recall.csv", ("class", "recall", "precision"), self.precision_recall)
        write_rows(Path(plots) / "confusion.csv", ("actual", "predicted"), self.confusion)
        columns = ("probabilities", "confidence", "accuracy", "images")
        write_rows(Path(plots) / "reliability.csv", columns, self.reliability)


def evaluate(
    predictor: Predictor,
    *,
    prepared: str | Path,
    splits: str | Path,
    data: DataSettings,
    settings: EvaluationSettings,
    order: Sequence[str] | None = None,
    choices: Choices | None = None,
) -> Evaluation:
    """Score a predictor on the test split of all three sets.

    Args:
        predictor: the model; its NMS threshold and number of detections hold, its score threshold is replaced
            by `settings.min_score`.
        prepared: folder of `prepare`'s outputs, one subfolder per task.
        splits: the splits.csv that `validate` wrote.
        data: where the raw pictures lie and how large they may be.
        settings: how to score.
        order: the states from first to last, if they follow each other.
        choices: thresholds and temperature; by default they are chosen on the validation split, whose pictures are
            then predicted, too.

    Returns:
        The scores; with no picture of a task in the split its figures are None. Of a task that the model has not,
        the number of scored images is None as well.

    Raises:
        EvaluationError: the model has other classes than the data, or the order other states than the model.
        PackedError: `prepared` or `splits` cannot be used, or the raw data are no longer those that were packed.
        ImageError: a raw picture or mask cannot be read.
    """
    predictor = predictor.with_thresholds(score_threshold=settings.min_score)

    def sources(name: Split) -> dict[str, Source]:
        return {
            task: open_source(task, name, prepared=prepared, splits=splits, data=data, batch_size=settings.batch_size)
            for task in DATASETS
        }

    tested = sources(SCORED_ON)
    _check(predictor, {task: source.packed for task, source in tested.items()}, order)
    if choices is None:
        choices = choose(_run(predictor, sources(CHOSEN_ON), ("detection", "classification"), Choices(), None))
    results = _run(predictor, tested, tuple(TASKS), choices, order)
    figures = {task: scores(found, resamples=settings.resamples, seed=settings.seed) for task, found in results.items()}
    return Evaluation(
        **figures,
        precision_recall=precision_recall_rows(results["detection"]),
        confusion=confusion_rows(results["classification"]),
        reliability=reliability_rows(results["classification"]),
        results=results,
        choices=choices,
    )


def choose(results: dict[str, Results]) -> Choices:
    """Thresholds with the best F1 and the temperature with the least loss, from the validation split's results."""
    boxes, states = results["detection"], results["classification"]
    probabilities = np.array([image["probabilities"] for image in states.images], np.float64)
    truth = np.array([image["truth"] for image in states.images], np.int64)
    return Choices(
        box_thresholds=tuple(_box_threshold(boxes, label) for label in range(len(boxes.classes))),
        state_thresholds=tuple(
            best_threshold(probabilities[:, label], truth == label, int((truth == label).sum())) if len(truth) else None
            for label in range(len(states.classes))
        ),
        temperature=fit_temperature(probabilities, truth) if len(truth) else None,
    )


def _box_threshold(results: Results, label: int) -> float | None:
    """The score of one class from which on reported boxes have the best F1 at IoU 0.5."""
    found = [
        (score, hits & 1)
        for boxes in (image["found"] for image in results.images)
        for score, own, hits, ignored in zip(
            boxes["scores"], boxes["labels"], boxes["hits"]["all"], boxes["ignored"]["all"], strict=True
        )
        if own == label and not ignored & 1
    ]
    positives = sum(image["truth"]["labels"].count(label) for image in results.images)
    return best_threshold([score for score, _ in found], [hit for _, hit in found], positives)


def _run(
    predictor: Predictor,
    sources: dict[str, Source],
    tasks: Sequence[str],
    choices: Choices,
    order: Sequence[str] | None,
) -> dict[str, Results]:
    """Results of some tasks; of those that the model has not without a picture."""
    record: dict[str, Callable[[Predictor, Source], list[Any]]] = {
        "segmentation": mask_images,
        "detection": box_images,
        "classification": state_images,
    }
    chosen = {"detection": choices.box_thresholds, "classification": choices.state_thresholds}
    results = {}
    for task in tasks:
        source, trained, state = sources[task], task in predictor.tasks, task == "classification"
        classes = source.packed.classes
        results[task] = Results(
            task=task,
            split=source.split,
            trained=trained,
            classes=classes,
            images=record[task](predictor, source) if trained else [],
            thresholds=list(chosen.get(task, ())) or ([] if task == "segmentation" else [None] * len(classes)),
            temperature=choices.temperature if state else None,
            order=list(order) if state and trained and order is not None else None,
        )
    return results


def _check(predictor: Predictor, packed: dict[str, PackedSet], order: Sequence[str] | None) -> None:
    names = {"detection": predictor.det_class_names, "classification": predictor.cls_class_names}
    for task, own in names.items():
        data = packed[task]
        if task in predictor.tasks and own != data.classes:
            raise EvaluationError(
                f"the model's {task} classes are {own}, those of {data.folder} {data.classes}; "
                "train on these data first"
            )
    states = names["classification"]
    if order is not None and "classification" in predictor.tasks and sorted(order) != sorted(states):
        raise EvaluationError(
            f"classification.order is {list(order)}, the model's states are {states}; name each of them once, "
            "or set it to null"
        )
