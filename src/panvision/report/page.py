"""The report: what the pipeline made, as one HTML page that needs nothing else."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from panvision.core.tasks import DATASETS
from panvision.dataset.packed import open_packed
from panvision.evaluation.results import Results, ResultsError, read_results
from panvision.inference.predictor import Predictor
from panvision.photos.settings import DataSettings
from panvision.report.archive import Archive
from panvision.report.data_page import read_problem_table
from panvision.report.faults import Kind as FaultKind
from panvision.report.faults import count_kinds, find_faults
from panvision.report.figures import read_previous, task_figures
from panvision.report.findings import Finding, draw_findings, problem_rows
from panvision.report.gallery import Gallery, HeldOut, Shot
from panvision.report.inputs import (
    ClassificationMetrics,
    DataMetrics,
    DetectionMetrics,
    JsonFigures,
    ReportError,
    Scores,
    SegmentationMetrics,
    leaves,
    read_metrics,
)
from panvision.report.plots import read_confusion, read_precision_recall, read_reliability, read_training
from panvision.report.rendering import render
from panvision.report.settings import ReportSettings
from panvision.report.sharing import read_baselines, read_sharing

TEMPLATE = "page.html.jinja"
SCORES: dict[str, type[Scores]] = {
    "segmentation": SegmentationMetrics,
    "detection": DetectionMetrics,
    "classification": ClassificationMetrics,
}
# Sections of config.json that say what was trained.
TRAINED = ("seed", "tasks", "data", "model", "loss", "train", "augment")


@dataclass(frozen=True)
class RunFiles:
    """What the other stages wrote.

    Attributes:
        prepared: folder of `prepare`'s outputs, one subfolder per task.
        splits, problems: the splits.csv and problems.csv that `validate` wrote.
        config: the config.json that `export` wrote.
        metrics: folder of data.json, <task>.json, export.json, baselines.json and previous.json.
        reports: folder of curves/phase{1,2}.csv, plots/{precision_recall,confusion,reliability}.csv and
            results/<task>.json.
    """

    prepared: Path
    splits: Path
    problems: Path
    config: Path
    metrics: Path
    reports: Path


@dataclass(frozen=True)
class Worst:
    """The worst test pictures of a task.

    Attributes:
        faulty: how many pictures have a fault.
        kinds: how many have one of each kind.
        shots: the worst of them.
    """

    faulty: int
    kinds: list[tuple[FaultKind, int]]
    shots: list[Shot]


def build_report(predictor: Predictor, *, files: RunFiles, data: DataSettings, settings: ReportSettings) -> str:
    """The report as HTML, the same for the same inputs.

    Args:
        predictor: the shipped model with the thresholds it ships with.
        files: what the other stages wrote.
        data: where the raw pictures lie and how large they may be.
        settings: how many pictures are drawn, and how wide.

    Raises:
        ReportError: metrics, results, curves, plots or problems are missing or damaged, metrics are those of a model
            with other tasks, or raw data changed since they were prepared.
        PackedError: the packed sets or the splits cannot be used.
        ImageError: a raw picture or mask cannot be read.
    """
    metrics, reports = files.metrics, files.reports
    scores = _read_scores(metrics, predictor.tasks)
    flat = {task: own.flat() for task, own in scores.items()}
    counts = read_metrics(metrics / "data.json", DataMetrics)
    previous = read_previous(metrics / "previous.json")
    context = {
        "predictor": predictor,
        "counts": {task: own.images for task, own in scores.items()},
        "figures": {
            task: task_figures(task, flat[task], own.ci95, previous.tasks.get(task, {})) for task, own in scores.items()
        },
        "previous": previous.commit,
        "data": counts,
        "problems": problem_rows(counts.problems),
        "export": export_tables(read_metrics(metrics / "export.json", JsonFigures).root),
        "trained": trained_settings(read_metrics(files.config, JsonFigures).root),
        "training": read_training(reports / "curves", predictor.tasks),
        "sharing": read_sharing(read_baselines(metrics / "baselines.json"), flat),
        "precision_recall": read_precision_recall(
            reports / "plots/precision_recall.csv", scores["detection"].by_class("ap50"), predictor.det_class_names
        ),
        "confusion": read_confusion(reports / "plots/confusion.csv", predictor.cls_class_names),
        "reliability": read_reliability(reports / "plots/reliability.csv", flat["classification"]),
        # Drawn last: it takes longest, and what is missing above shows at once.
        "findings": _findings(files, data, settings),
        **_galleries(predictor, files, data, settings),
    }
    return render(TEMPLATE, context)


def _read_scores(metrics: Path, tasks: Sequence[str]) -> dict[str, Scores]:
    """The three tasks' metrics, held to be those of a model of these tasks."""
    scores = {task: read_metrics(metrics / f"{task}.json", schema) for task, schema in SCORES.items()}
    for task, own in scores.items():
        if (own.images is not None) != (task in tasks):
            raise ReportError(f"{metrics / task}.json: scores of a model with other tasks; run `dvc repro` again")
    return scores


def trained_settings(values: Mapping[str, JsonValue]) -> list[tuple[str, list[tuple[str, str]]]]:
    """What decided what was trained, a table per section, by the names and values that params.yaml has.

    Args:
        values: of config.json; sections that it has not are left out.
    """
    sections = {name: values[name] for name in TRAINED if name in values}
    alone = [(name, _setting(value)) for name, value in sections.items() if not isinstance(value, dict)]
    tables = [("", alone)] if alone else []
    for name, section in sections.items():
        if isinstance(section, dict):
            rows = [(".".join(path), _setting(leaf)) for path, leaf in sorted(leaves(section, (name,)))]
            tables.append((name, rows))
    return tables


def _setting(value: JsonValue) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _galleries(
    predictor: Predictor, files: RunFiles, data: DataSettings, settings: ReportSettings
) -> dict[str, Mapping[str, object]]:
    """By task pictures spread over the split, and the worst with what is wrong in how many."""
    galleries: dict[str, Gallery] = {}
    worst: dict[str, Worst] = {}
    for task in DATASETS:
        if task in predictor.tasks:
            held_out = HeldOut.open(predictor, task, prepared=files.prepared, splits=files.splits, data=data)
            galleries[task] = held_out.spread(settings.images, settings.width)
            faulty = find_faults(_results(files.reports / f"results/{task}.json", task), predictor.score_threshold)
            shots = held_out.worst(faulty, settings.worst, settings.width)
            worst[task] = Worst(len(faulty), count_kinds(faulty), shots)
    return {"galleries": galleries, "worst": worst}


def _results(path: Path, task: str) -> Results:
    try:
        results = read_results(path)
    except ResultsError as error:
        raise ReportError(str(error)) from error
    if results.task != task:
        raise ReportError(f"{path}: results of {results.task}; run `dvc repro evaluate` again")
    return results


def _findings(files: RunFiles, data: DataSettings, settings: ReportSettings) -> list[Finding]:
    """The problems of the raw data with their pictures."""
    problems = read_problem_table(files.problems)
    packed = [open_packed(files.prepared / task, task) for task in DATASETS]
    return draw_findings(problems, Archive.open(packed, files.splits, data), settings.data_images)


def export_tables(values: Mapping[str, JsonValue]) -> list[tuple[str, list[tuple[str, str]]]]:
    """A table (title, rows of name and value) per entry of export.json, whatever is in it.

    `{"size_mb": {"onnx": 5.25}}` gives `[("size MB", [("onnx", "5.25")])]`; what is nested deeper gets its path as
    name, what is not nested at all a table without title, the first.
    """
    tables = [
        ("", [(_words(key), _value(value)) for key, value in sorted(values.items()) if not isinstance(value, dict)])
    ]
    for key, value in sorted(values.items()):
        if isinstance(value, dict):
            rows = [(", ".join(map(_words, path)), _value(leaf)) for path, leaf in sorted(leaves(value))]
            tables.append((_words(key), rows))
    return [(title, rows) for title, rows in tables if rows]


def _words(key: str) -> str:
    return key.replace("_", " ").replace(" mb", " MB")


def _value(value: JsonValue) -> str:
    if value is None:
        return "undefined"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return ", ".join(_value(entry) if not isinstance(entry, dict) else str(entry) for entry in value)
    return str(value)
