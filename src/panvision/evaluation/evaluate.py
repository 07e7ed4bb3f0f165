"""Score the shipped predictor on the raw images of the test split, in their own pixels, as a user gets its results."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from panvision.core.files import write_json, write_rows, write_text
from panvision.core.order import find_order
from panvision.core.tasks import DATASETS, TASKS, Dataset, Task
from panvision.dataset.packed import Split
from panvision.evaluation.evaluation import Table
from panvision.evaluation.metrics import scores
from panvision.evaluation.results import Predictions, Results, encode_heat
from panvision.evaluation.settings import EvaluationSettings
from panvision.evaluation.slices import facts_of, slice_table
from panvision.evaluation.source import Predicted, Source, open_source
from panvision.evaluation.summary import FILE, summary
from panvision.evaluation.table import EVALUATIONS
from panvision.inference.backend import ModelInfo
from panvision.inference.predictor import Predictor
from panvision.inference.results import Result
from panvision.inference.settings import DecisionSettings
from panvision.photos.settings import DataSettings

SCORED_ON: Split = "test"
CHOSEN_ON: Split = "val"

# Task → fields of its `Results` that were chosen on the validation split.
Choices = Mapping[Task, Mapping[str, Any]]


class EvaluationError(ValueError):
    """Raised if model, data and settings do not fit together; the message names them and the remedy."""


@dataclass(frozen=True)
class HeldOut:
    """The validation and test images, and how they are scored.

    Attributes:
        prepared: folder of `prepare`'s outputs, one subfolder per dataset.
        splits: the splits.csv that `validate` wrote.
        data: location of the raw images and largest size of an image.
        settings: how to score.
        order: the class labels of classification from first to last, if they have an order; or `auto`.
        decision: criterion of the thresholds, and costs of boxes.
    """

    prepared: Path
    splits: Path
    data: DataSettings
    settings: EvaluationSettings
    order: Sequence[str] | None = None
    decision: DecisionSettings = field(default_factory=DecisionSettings)

    def sources(self, split: Split) -> dict[Dataset, Source]:
        """Open the images of a split, by dataset.

        Raises:
            PackedError: `prepared` or `splits` cannot be used.
        """
        return {
            name: open_source(
                name,
                split,
                prepared=self.prepared,
                splits=self.splits,
                data=self.data,
                batch_size=self.settings.batch_size,
            )
            for name in DATASETS
        }


@dataclass(frozen=True)
class Evaluated:
    """Metrics of the test split, and the per-image results behind them.

    Attributes:
        metrics: content of each task's metrics file; every metric of a task that the model does not have is None.
        plots: tables that plots are drawn from, by file name without suffix.
        results: per-image results of each task.
        predictions: the whole result of each image.
        choices: values chosen on the validation split.
    """

    metrics: dict[Task, dict[str, Any]]
    plots: dict[str, Table]
    results: dict[Task, Results]
    predictions: Predictions
    choices: Choices

    def write(self, metrics: str | Path, plots: str | Path, results: str | Path) -> None:
        """Write the files.

        Args:
            metrics: folder of <task>.json and summary.json.
            plots: folder of <name>.csv.
            results: folder of <task>.json and predictions.json.
        """
        for task in TASKS:
            self.results[task].write(Path(results) / f"{task}.json")
            write_json(Path(metrics) / f"{task}.json", self.metrics[task])
        # Not sorted: DVC shows the metrics in this order.
        write_text(Path(metrics) / FILE, json.dumps(summary(self.metrics), indent=2, allow_nan=False) + "\n")
        self.predictions.write(Path(results) / "predictions.json")
        for name, (header, rows) in self.plots.items():
            write_rows(Path(plots) / f"{name}.csv", header, rows)


def evaluate(
    predictor: Predictor,
    held_out: HeldOut,
    *,
    choices: Choices | None = None,
    fit: bool = False,
    explain: bool = False,
) -> Evaluated:
    """Score a predictor on the test split of all datasets.

    Args:
        predictor: the model with its shipped thresholds; boxes down to `settings.min_score` are scored.
        held_out: the images, and how to score.
        choices: thresholds; by default they are chosen on the validation split, whose images are then predicted too.
        fit: True if the score thresholds of boxes are chosen as well; otherwise they are the predictor's.
        explain: keep an activation map of each test image, if the model is a checkpoint.

    Raises:
        EvaluationError: the model has other classes than the data, or the order has other class labels than the model.
        PackedError: `prepared` or `splits` cannot be used, or the raw data are no longer those that were packed.
        ImageError: a raw image or mask cannot be read.
    """
    decision, min_score, shipped = held_out.decision, held_out.settings.min_score, predictor
    predictor = predictor.with_thresholds(score_threshold=min_score)
    tested = held_out.sources(SCORED_ON)
    _check(predictor, tested)
    try:
        order = find_order(held_out.order, predictor.cls_class_names if "classification" in predictor.tasks else ())
    except ValueError as error:
        raise EvaluationError(str(error)) from error
    if choices is None:
        choices = _choose(predictor, held_out.sources(CHOSEN_ON), decision, fit=fit)
    if "detection" in choices:
        # Boxes with a lower score are not scored.
        limits = [max(each, min_score) for each in choices["detection"]["thresholds"]]
        shipped = shipped.with_thresholds(dict(zip(predictor.det_class_names, limits, strict=True)))
    images: list[dict[str, Any]] = []

    def keep(dataset: Dataset, image: Predicted, records: Mapping[Task, dict[str, Any]]) -> None:
        parts = {task: EVALUATIONS[task].stored(part) for task, part in _parts(image.reported).items()}
        images.append({"dataset": dataset, "file": image.described["file"], "result": parts})
        if explain and shipped.explains:
            _explain(shipped, image, records)

    results = _record(predictor, shipped, tested, list(TASKS), keep)
    for task, found in results.items():
        own = _shipped_with(shipped.info, decision, order).get(TASKS[task].dataset, {}) if found.trained else {}
        results[task] = replace(found, **{**choices.get(task, {}), **own})
    return Evaluated(
        metrics={task: scores(found) for task, found in results.items()},
        plots=_plots(results, tested),
        results=results,
        predictions=Predictions(_describe(shipped), images),
        choices=choices,
    )


def _plots(results: Mapping[Task, Results], sources: Mapping[Dataset, Source]) -> dict[str, Table]:
    plots = {name: table for task in TASKS for name, table in EVALUATIONS[task].plots(results[task]).items()}
    facts = {dataset: facts_of(source.packed) for dataset, source in sources.items()}
    return {**plots, "slices": slice_table(results, facts)}


def undefined(predictor: Predictor) -> dict[Task, dict[str, Any]]:
    """Return the metrics of no images: every key of the metrics files, without a value."""
    names = _classes(predictor)
    return {task: scores(_empty(task, SCORED_ON, predictor, names.get(TASKS[task].dataset, []))) for task in TASKS}


def _empty(task: Task, split: Split, predictor: Predictor, classes: Sequence[str]) -> Results:
    chosen = EVALUATIONS[task].choose is not None
    thresholds: list[float | None] = [None] * len(classes) if chosen else []
    return Results(task, split, task in predictor.tasks, list(classes), [], thresholds=thresholds)


def _choose(
    predictor: Predictor, sources: Mapping[Dataset, Source], decision: DecisionSettings, *, fit: bool
) -> Choices:
    """Choose thresholds on the validation split, those of boxes if `fit`."""
    chosen = {task: choose for task in predictor.tasks if (choose := EVALUATIONS[task].choose) is not None}
    if not fit:
        chosen.pop("detection", None)
    validated = _record(predictor, predictor, sources, list(chosen))
    return {task: chosen[task](results, decision) for task, results in validated.items()}


def _record(
    predictor: Predictor,
    shipped: Predictor,
    sources: Mapping[Dataset, Source],
    tasks: Sequence[Task],
    keep: Callable[[Dataset, Predicted, Mapping[Task, dict[str, Any]]], None] | None = None,
) -> dict[Task, Results]:
    """Record the results of some tasks, without an image for those that the model does not have.

    `keep` is called with the dataset of each image, the image and its records, to which it may add fields.
    """
    results: dict[Task, Results] = {}
    for task in tasks:
        source = sources[TASKS[task].dataset]
        results[task] = _empty(task, source.split, predictor, source.packed.classes)
    for dataset, source in sources.items():
        own = [task for task in tasks if task in predictor.tasks and TASKS[task].dataset == dataset]
        for image in source.predict(predictor, shipped) if own else ():
            for task in own:
                part = EVALUATIONS[task].joined(_parts(image.result)[task], _parts(image.reported)[task])
                record = EVALUATIONS[task].record(part, image.truth, source.packed.classes)
                results[task].images.append({**image.described, **record})
            if keep is not None:
                keep(dataset, image, {task: results[task].images[-1] for task in own})
    return results


def _explain(predictor: Predictor, image: Predicted, records: Mapping[Task, dict[str, Any]]) -> None:
    """Add the activation map of each task's target to its record."""
    scale = [predictor.image_size / image.described[side] for side in ("width", "height")]
    for task, record in records.items():
        target = EVALUATIONS[task].target(_parts(image.reported)[task], record, scale)
        if target is not None:
            [heat] = predictor.activations(image.square[None], [target[0]])
            record["explanation"] = {**target[1], "heat": encode_heat(heat)}


def _parts(result: Result) -> dict[Task, Any]:
    return {task: part for task, part in result.items() if task in TASKS}


def _shipped_with(
    info: ModelInfo, decision: DecisionSettings, order: Sequence[str] | None
) -> dict[Dataset, dict[str, Any]]:
    """Return the fields of `Results` that the model and the costs determine, by dataset."""
    prices = {"miss": decision.costs.miss, "false_alarm": decision.costs.false_alarm}
    confusions = {"confusions": [list(row) for row in info.costs]} if info.costs else None
    return {
        "detection": {"thresholds": list(info.thresholds.by_class(len(info.det_class_names))), "costs": prices},
        "classification": {"order": order and list(order), "temperature": info.temperature, "costs": confusions},
    }


def _describe(shipped: Predictor) -> dict[str, Any]:
    return {
        "image_size": shipped.image_size,
        "score_threshold": shipped.score_threshold,
        "nms_threshold": shipped.nms_threshold,
        "max_detections": shipped.max_detections,
    }


def _classes(predictor: Predictor) -> dict[Dataset, list[str]]:
    return {"detection": predictor.det_class_names, "classification": predictor.cls_class_names}


def _check(predictor: Predictor, sources: Mapping[Dataset, Source]) -> None:
    """Compare the model's classes with those of the data."""
    for dataset, own in _classes(predictor).items():
        packed = sources[dataset].packed
        if dataset in predictor.tasks and own != packed.classes:
            raise EvaluationError(
                f"the model's {dataset} classes are {own}, those of {packed.folder} {packed.classes}; "
                "train on these data first"
            )
