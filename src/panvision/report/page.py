"""The report: the results of the pipeline as one HTML page without other files."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from panvision.core.tasks import DATASETS, TASKS, Task
from panvision.dataset.packed import PackedSet, open_packed
from panvision.evaluation.results import Predictions, Results, ResultsError, read_predictions, read_results
from panvision.photos.settings import DataSettings
from panvision.report.archive import Archive
from panvision.report.data_page import read_problem_table
from panvision.report.findings import draw_findings, problem_rows
from panvision.report.gallery import Gallery, GallerySource, Worst
from panvision.report.inputs import (
    DataMetrics,
    JsonValues,
    ReportError,
    Scores,
    leaves,
    read_metrics,
    read_scores,
)
from panvision.report.judgement import judge_run
from panvision.report.metrics import MetricTables, SliceRow, metric_tables, read_previous, read_slices
from panvision.report.mistakes import count_kinds
from panvision.report.plots import read_training
from panvision.report.rendering import render
from panvision.report.section import Section
from panvision.report.settings import ReportSettings
from panvision.report.sharing import read_baselines, read_sharing
from panvision.report.speed import read_speed
from panvision.report.table import SECTIONS

TEMPLATE = "page.html.jinja"
# Of a hash this number of hex digits is shown, as `panvision predict` and the web page do.
HASH_DIGITS = 12
# Sections of config.json that describe what was trained.
TRAINED = ("seed", "tasks", "data", "model", "loss", "train", "augment")


@dataclass(frozen=True)
class RunFiles:
    """Files of the other stages.

    Attributes:
        prepared: folder of `prepare`'s outputs, one subfolder per dataset.
        splits, problems: the splits.csv and problems.csv that `validate` wrote.
        config: the config.json that `export` wrote; None for a model that was not made by the pipeline: its page shows
            neither training nor export.
        metrics: folder of data.json, <task>.json, export.json, baselines.json, benchmark.json and
            previous.json.
        reports: folder of curves/phase{1,2}.csv, the tables of plots/, results/<task>.json and
            results/predictions.json.
    """

    prepared: Path
    splits: Path
    problems: Path
    config: Path | None
    metrics: Path
    reports: Path


@dataclass(frozen=True)
class _Evaluated:
    """Outputs of `evaluate`.

    Attributes:
        scores: metrics of each task.
        results: per-image results of each task.
        predictions: the whole result of each image.
    """

    scores: dict[Task, Scores]
    results: dict[Task, Results]
    predictions: Predictions

    @classmethod
    def read(cls, files: RunFiles) -> "_Evaluated":
        """Read the files, which must be of one model."""
        scores = {task: read_scores(files.metrics / f"{task}.json", task) for task in TASKS}
        results: dict[Task, Results] = {}
        try:
            for task, own in scores.items():
                path = files.reports / f"results/{task}.json"
                results[task] = read_results(path)
                if results[task].task != task:
                    raise ReportError(f"{path}: results of {results[task].task}; run `dvc repro evaluate` again")
                if (own.images is not None) != results[task].trained:
                    raise ReportError(f"{path}: results of a model with other tasks; run `dvc repro` again")
            predictions = read_predictions(files.reports / "results/predictions.json")
        except ResultsError as error:
            raise ReportError(str(error)) from error
        return cls(scores, results, predictions)

    @property
    def tasks(self) -> list[Task]:
        """Return the tasks of the model."""
        return [task for task, own in self.results.items() if own.trained]


@dataclass(frozen=True)
class TaskPage:
    """The section of one task, filled in.

    Attributes:
        task: key of TASKS.
        section: its row of SECTIONS.
        trained: True if the model has the task.
        images: number of test images.
        classes: class names of its dataset.
        tables: its metrics.
        plots: variables of the section's template.
        slices: metrics of some of the images.
        gallery, worst: images; None if the model does not have the task.
    """

    task: Task
    section: Section
    trained: bool
    images: int | None
    classes: list[str]
    tables: MetricTables
    plots: dict[str, Any]
    slices: list[SliceRow] = field(default_factory=list)
    gallery: Gallery | None = None
    worst: Worst | None = None

    @property
    def intro(self) -> str:
        """Return the introduction with the number of test images."""
        return self.section.intro.format(images=f"{self.images} test image{'' if self.images == 1 else 's'}")

    @property
    def has_areas(self) -> bool:
        """True if a shown image has a mask."""
        shots = [*(self.gallery.shots if self.gallery else []), *(self.worst.shots if self.worst else [])]
        return any(shot.true_area or shot.predicted_area for shot in shots)

    @property
    def kinds(self) -> list[tuple[Any, int]]:
        """Return the kinds of mistakes with the number of their images."""
        return count_kinds(self.worst.mistaken) if self.worst else []


def build_report(*, files: RunFiles, data: DataSettings, settings: ReportSettings) -> str:
    """Build the report as HTML, the same for the same inputs.

    Args:
        files: files of the other stages.
        data: location of the raw images and largest size of an image.
        settings: number and width of the drawn images.

    Raises:
        ReportError: metrics, results, curves, plots or problems are missing or damaged, metrics and results are of
            models with different tasks, or of other images than the datasets.
        PackedError: the packed datasets or the splits cannot be used, or the raw data are no longer those packed.
        ImageError: a raw image or mask cannot be read.
    """
    evaluated = _Evaluated.read(files)
    flat = {task: own.flat() for task, own in evaluated.scores.items()}
    orders = {TASKS[task].dataset: results.ordered_classes for task, results in evaluated.results.items()}
    counts = read_metrics(files.metrics / "data.json", DataMetrics).in_order(orders)
    previous = read_previous(files.metrics / "previous.json")
    slices = read_slices(files.reports / "plots/slices.csv")
    pages = [
        TaskPage(
            task=task,
            section=section,
            trained=task in evaluated.tasks,
            images=evaluated.scores[task].images,
            classes=evaluated.results[task].ordered_classes,
            tables=metric_tables(
                task,
                flat[task],
                evaluated.scores[task].ci95,
                previous.tasks.get(task, {}),
                reasons=evaluated.scores[task].ci95_null,
                classes=evaluated.results[task].ordered_classes,
            ),
            plots=section.plots(files.reports / "plots", flat[task], evaluated.results[task]),
            slices=slices.get(task, []),
        )
        for task, section in SECTIONS.items()
    ]
    context: dict[str, Any] = {
        "model": evaluated.predictions.model,
        "tasks": evaluated.tasks,
        "previous": previous.commit,
        "data": counts,
        "problems": problem_rows(counts.problems),
        "whole": files.config is not None,
    }
    exported = {} if files.config is None else read_metrics(files.metrics / "export.json", JsonValues).root
    tables = {page.task: page.tables for page in pages if page.trained}
    context["judgement"] = judge_run(tables, previous.commit, context["problems"], exported)
    if files.config is not None:
        config = read_metrics(files.config, JsonValues).root
        context |= {
            "export": export_tables({name: value for name, value in exported.items() if name != "sha256"}),
            "settings": trained_settings(config),
            "identity": identity(config, exported),
            "speed": read_speed(files.metrics / "benchmark.json", exported),
            "training": read_training(files.reports / "curves", evaluated.tasks),
            "sharing": read_sharing(read_baselines(files.metrics / "baselines.json"), flat),
        }
    # Images are drawn last: that takes longest, and a missing file is reported before.
    packed = {name: open_packed(files.prepared / name, name) for name in DATASETS}
    problems, archive = read_problem_table(files.problems), Archive.open(list(packed.values()), files.splits, data)
    context["findings"] = draw_findings(problems, archive, settings.data_images)
    context["pages"] = [
        _with_images(page, evaluated, packed[TASKS[page.task].dataset], data, settings) for page in pages
    ]
    return render(TEMPLATE, context)


def _with_images(
    page: TaskPage, evaluated: _Evaluated, packed: PackedSet, data: DataSettings, settings: ReportSettings
) -> TaskPage:
    """Draw the images of a task that the model has."""
    if not page.trained:
        return page
    source = GallerySource(page.task, evaluated.results[page.task], evaluated.predictions, packed, data)
    return replace(
        page,
        gallery=source.spread(settings.images, settings.width),
        worst=source.worst(settings.worst, settings.width),
    )


def trained_settings(values: Mapping[str, JsonValue]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Arrange the settings of the training, a table per section, with names and values as in params.yaml.

    Args:
        values: of config.json; missing sections are left out.
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


def identity(config: Mapping[str, JsonValue], export: Mapping[str, JsonValue]) -> list[tuple[str, str]]:
    """Return names and values that identify the model: its network, and hashes of file, settings and data.

    Args:
        config: content of config.json.
        export: content of export.json; one of an earlier version has no hashes.
    """
    model, hashes = config.get("model"), export.get("sha256")
    rows = []
    if isinstance(model, dict) and "backbone" in model:
        rows.append(("Backbone", f"{_value(model['backbone'])}, first weights: {_value(model.get('weights'))}"))
    names = {"onnx": "ONNX file", "params": "Settings", "data": "Data and splits"}
    if isinstance(hashes, dict):
        rows += [(names[key], f"{hashes[key]}"[:HASH_DIGITS]) for key in names if hashes.get(key)]
    return rows


def export_tables(values: Mapping[str, JsonValue]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Arrange export.json, a table (title, rows of name and value) per nested entry.

    `{"size_mb": {"onnx": 5.25}}` gives `[("size MB", [("onnx", "5.25")])]`; the name of a deeper value is its path;
    values that are not nested form the first table, without a title.
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
