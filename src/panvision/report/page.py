"""The report: what the pipeline made, as one HTML page that needs nothing else."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pydantic import JsonValue

from panvision.inference.predictor import Predictor
from panvision.ingest.packed import TASKS, open_packed
from panvision.ingest.settings import DataSettings
from panvision.report.archive import Archive
from panvision.report.data_page import read_problem_table
from panvision.report.findings import Finding, draw_findings, problem_rows
from panvision.report.gallery import draw_gallery
from panvision.report.inputs import (
    ClassificationMetrics,
    DataMetrics,
    DetectionMetrics,
    ExportMetrics,
    ReportError,
    SegmentationMetrics,
    read_metrics,
)
from panvision.report.plots import read_confusion, read_precision_recall, read_training
from panvision.report.rendering import render
from panvision.report.settings import ReportSettings
from panvision.report.sharing import read_baselines, read_sharing

TEMPLATE = "page.html.jinja"


@dataclass(frozen=True)
class RunFiles:
    """What the other stages wrote.

    Attributes:
        prepared: folder of `prepare`'s outputs, one subfolder per task.
        splits, problems: the splits.csv and problems.csv that `validate` wrote.
        metrics: folder of data.json, <task>.json, export.json and baselines.json.
        reports: folder of curves/phase{1,2}.csv and plots/{precision_recall,confusion}.csv.
    """

    prepared: Path
    splits: Path
    problems: Path
    metrics: Path
    reports: Path


def build_report(predictor: Predictor, *, files: RunFiles, data: DataSettings, settings: ReportSettings) -> str:
    """The report as HTML, the same for the same inputs.

    Args:
        predictor: the shipped model with the thresholds it ships with.
        files: what the other stages wrote.
        data: where the raw pictures lie and how large they may be.
        settings: how many pictures are drawn, and how wide.

    Raises:
        ReportError: metrics, curves, plots or problems are missing or damaged, metrics are those of a model with
            other tasks, or raw data changed since they were prepared.
        PackedError: the packed sets or the splits cannot be used.
        ImageError: a raw picture or mask cannot be read.
    """
    metrics, reports = files.metrics, files.reports
    scores = _read_scores(metrics, predictor.tasks)
    figures = read_metrics(metrics / "data.json", DataMetrics)
    context = {
        "predictor": predictor,
        "segmentation": scores.segmentation,
        "detection": scores.detection,
        "classification": scores.classification,
        "data": figures,
        "problems": problem_rows(figures.problems),
        "export": export_tables(read_metrics(metrics / "export.json", ExportMetrics).root),
        "training": read_training(reports / "curves", predictor.tasks),
        "sharing": read_sharing(
            read_baselines(metrics / "baselines.json"),
            {task: own.model_dump(exclude={"ci95"}) for task, own in scores._asdict().items()},
        ),
        "precision_recall": read_precision_recall(
            reports / "plots/precision_recall.csv", scores.detection.ap50, predictor.det_class_names
        ),
        "confusion": read_confusion(reports / "plots/confusion.csv", predictor.cls_class_names),
        # Drawn last: it takes longest, and what is missing above shows at once.
        "findings": _findings(files, data, settings),
        "galleries": {
            task: draw_gallery(
                predictor, task, prepared=files.prepared, splits=files.splits, data=data, settings=settings
            )
            for task in TASKS
            if task in predictor.tasks
        },
    }
    return render(TEMPLATE, context)


class _Scores(NamedTuple):
    segmentation: SegmentationMetrics
    detection: DetectionMetrics
    classification: ClassificationMetrics


def _read_scores(metrics: Path, tasks: Sequence[str]) -> _Scores:
    """The three tasks' metrics, held to be those of a model of these tasks."""
    scores = _Scores(
        read_metrics(metrics / "segmentation.json", SegmentationMetrics),
        read_metrics(metrics / "detection.json", DetectionMetrics),
        read_metrics(metrics / "classification.json", ClassificationMetrics),
    )
    for task, own in scores._asdict().items():
        if (own.images is not None) != (task in tasks):
            raise ReportError(f"{metrics / task}.json: scores of a model with other tasks; run `dvc repro` again")
    return scores


def _findings(files: RunFiles, data: DataSettings, settings: ReportSettings) -> list[Finding]:
    """The problems of the raw data with their pictures."""
    problems = read_problem_table(files.problems)
    packed = [open_packed(files.prepared / task, task) for task in TASKS]
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
            tables.append((_words(key), [(", ".join(path), _value(leaf)) for path, leaf in _leaves(value, ())]))
    return [(title, rows) for title, rows in tables if rows]


def _leaves(values: Mapping[str, JsonValue], above: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], JsonValue]]:
    for key, value in sorted(values.items()):
        path = (*above, _words(key))
        if isinstance(value, dict):
            yield from _leaves(value, path)
        else:
            yield path, value


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
