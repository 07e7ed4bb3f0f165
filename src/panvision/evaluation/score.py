"""The shipped Predictor on raw pictures of a split, scored against the raw truth.

Masks and boxes are compared in the pictures' own pixels, so that what is scored is what a user gets.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from panvision.evaluation.settings import EvaluationSettings
from panvision.files import write_json, write_rows
from panvision.inference.predictor import Predictor
from panvision.inference.results import Result
from panvision.ingest.packed import TASKS, PackedSet, open_packed, read_splits
from panvision.ingest.raw import read_raw_image, read_raw_mask
from panvision.ingest.settings import DataSettings
from panvision.pixels import RgbArray
from panvision.scoring.classification import classification_scores
from panvision.scoring.detection import coco_precision, precision_recall_rows, summarise_precision
from panvision.scoring.segmentation import pixel_counts, segmentation_scores

Rows = npt.NDArray[np.int64]


class EvaluationError(ValueError):
    """Model and data do not belong together; the message names both and the remedy."""


@dataclass(frozen=True)
class Evaluation:
    """Scores of one split and what the plots show; every figure of a task that the model has not is None.

    Attributes:
        segmentation: `{"images", "miou", "iou": {"background", "pan"}, "dice"}`.
        detection: `{"images", "map50", "map50_95", "ap50": {name}}`.
        classification: `{"images", "accuracy", "balanced_accuracy", "recall": {name}}`.
        precision_recall: rows (class, recall, precision) at IoU 0.5.
        confusion: rows (actual, predicted), one per picture, class names.
    """

    segmentation: dict[str, Any]
    detection: dict[str, Any]
    classification: dict[str, Any]
    precision_recall: list[tuple[str, float, float]]
    confusion: list[tuple[str, str]]

    def write(self, metrics: str | Path, plots: str | Path) -> None:
        """Write `<metrics>/<task>.json`, `<plots>/precision_recall.csv` and `<plots>/confusion.csv`."""
        write_json(Path(metrics) / "segmentation.json", self.segmentation)
        write_json(Path(metrics) / "detection.json", self.detection)
        write_json(Path(metrics) / "classification.json", self.classification)
        write_rows(Path(plots) / "precision_recall.csv", ("class", "recall", "precision"), self.precision_recall)
        write_rows(Path(plots) / "confusion.csv", ("actual", "predicted"), self.confusion)


@dataclass(frozen=True)
class _Source:
    """The raw pictures of one task's split."""

    packed: PackedSet
    rows: Rows
    folder: Path  # <data.root>/<task>
    max_pixels: int
    batch_size: int

    def predictions(self, predictor: Predictor) -> Iterator[tuple[int, Result]]:
        """Row numbers and results, with one batch of pictures in memory at a time."""
        for start in range(0, len(self.rows), self.batch_size):
            batch = [int(row) for row in self.rows[start : start + self.batch_size]]
            yield from zip(batch, predictor.predict_batch([self._read(row) for row in batch]), strict=True)

    def _read(self, row: int) -> RgbArray:
        return read_raw_image(self.packed, row, self.folder, max_pixels=self.max_pixels)


def evaluate(
    predictor: Predictor,
    *,
    prepared: str | Path,
    splits: str | Path,
    data: DataSettings,
    settings: EvaluationSettings,
    split: str = "test",
) -> Evaluation:
    """Score a predictor on one split of all three sets.

    Args:
        predictor: the model; its NMS threshold and number of detections hold, its score threshold is replaced
            by `settings.min_score`.
        prepared: folder of `prepare`'s outputs, one subfolder per task.
        splits: the splits.csv that `validate` wrote.
        data: where the raw pictures lie and how large they may be.
        settings: how to score.
        split: `train`, `val` or `test`.

    Returns:
        The scores; with no picture of a task in the split its figures are None. Of a task that the model has not,
        the number of scored images is None as well.

    Raises:
        EvaluationError: the model has other classes than the data.
        PackedError: `prepared` or `splits` cannot be used, or the raw data are no longer those that were packed.
        ImageError: a raw picture or mask cannot be read.
    """
    predictor = predictor.with_thresholds(score_threshold=settings.min_score)
    sources = {}
    for task in TASKS:
        packed = open_packed(Path(prepared) / task, task)
        rows = read_splits(splits, task, packed.files)[split]
        sources[task] = _Source(packed, rows, Path(data.root) / task, data.max_pixels, settings.batch_size)
    if "detection" in predictor.tasks:
        _check_classes(predictor.det_class_names, sources["detection"].packed)
    if "classification" in predictor.tasks:
        _check_classes(predictor.cls_class_names, sources["classification"].packed)
    detection, precision_recall = _score_boxes(predictor, sources["detection"])
    classification, confusion = _score_states(predictor, sources["classification"])
    return Evaluation(
        segmentation=_score_masks(predictor, sources["segmentation"]),
        detection=detection,
        classification=classification,
        precision_recall=precision_recall,
        confusion=confusion,
    )


def _score_masks(predictor: Predictor, source: _Source) -> dict[str, Any]:
    if "segmentation" not in predictor.tasks:
        return {"images": None, **segmentation_scores([])}
    counts = [
        pixel_counts(read_raw_mask(source.packed, row, source.folder), result["segmentation"]["mask"])
        for row, result in source.predictions(predictor)
    ]
    return {"images": len(counts), **segmentation_scores(counts)}


def _score_boxes(predictor: Predictor, source: _Source) -> tuple[dict[str, Any], list[tuple[str, float, float]]]:
    boxes, labels = source.packed.boxes, source.packed.labels
    if boxes is None or labels is None:
        raise EvaluationError(f"{source.packed.folder}: has no boxes; run `python stages/prepare.py detection`")
    names = source.packed.classes
    if "detection" not in predictor.tasks:
        return {"images": None, **summarise_precision(coco_precision([], [], len(names)), names)}, []
    truth, predictions = [], []
    for row, result in source.predictions(predictor):
        found = result["detection"]
        truth.append((boxes[row], labels[row]))
        predictions.append((np.array(found["boxes"]), np.array(found["labels"]), np.array(found["scores"])))
    precision = coco_precision(truth, predictions, len(names))
    scores = {"images": len(truth), **summarise_precision(precision, names)}
    return scores, precision_recall_rows(precision, names)


def _score_states(predictor: Predictor, source: _Source) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    states = source.packed.states
    if states is None:
        raise EvaluationError(f"{source.packed.folder}: has no states; run `python stages/prepare.py classification`")
    names = source.packed.classes
    if "classification" not in predictor.tasks:
        return {"images": None, **classification_scores([], [], names)}, []
    pairs = [(int(states[row]), result["classification"]["class_idx"]) for row, result in source.predictions(predictor)]
    scores = classification_scores([actual for actual, _ in pairs], [found for _, found in pairs], names)
    return {"images": len(pairs), **scores}, [(names[actual], names[found]) for actual, found in pairs]


def _check_classes(names: list[str], packed: PackedSet) -> None:
    if names != packed.classes:
        raise EvaluationError(
            f"the model's {packed.task} classes are {names}, those of {packed.folder} {packed.classes}; "
            "train on these data first"
        )
