"""The report: what the pipeline made, as one HTML page that needs nothing else."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from pydantic import JsonValue

from panvision.inference.predictor import Predictor
from panvision.ingest.packed import TASKS
from panvision.ingest.problems import CATALOGUE
from panvision.ingest.settings import DataSettings
from panvision.report.gallery import draw_gallery
from panvision.report.inputs import (
    ClassificationMetrics,
    DataMetrics,
    DetectionMetrics,
    ExportMetrics,
    SegmentationMetrics,
    read_metrics,
)
from panvision.report.plots import read_confusion, read_precision_recall, read_training
from panvision.report.settings import ReportSettings

TEMPLATE = "page.html.jinja"
STYLE = "page.css"


@dataclass(frozen=True)
class ProblemRow:
    """How often a problem was met, and what to do about it."""

    code: str
    severity: str
    count: int
    remedy: str


def build_report(
    predictor: Predictor,
    *,
    prepared: str | Path,
    splits: str | Path,
    metrics: str | Path,
    reports: str | Path,
    data: DataSettings,
    settings: ReportSettings,
) -> str:
    """The report as HTML, the same for the same inputs.

    Args:
        predictor: the shipped model with the thresholds it ships with.
        prepared: folder of `prepare`'s outputs, one subfolder per task.
        splits: the splits.csv that `validate` wrote.
        metrics: folder of data.json, <task>.json and export.json.
        reports: folder of curves/phase{1,2}.csv and plots/{precision_recall,confusion}.csv.
        data: where the raw pictures lie and how large they may be.
        settings: how many pictures are drawn, and how wide.

    Raises:
        ReportError: metrics, curves or plots are missing or damaged, or raw data changed since they were prepared.
        PackedError: `prepared` or `splits` cannot be used.
        ImageError: a raw picture or mask cannot be read.
    """
    metrics, reports = Path(metrics), Path(reports)
    detection = read_metrics(metrics / "detection.json", DetectionMetrics)
    figures = read_metrics(metrics / "data.json", DataMetrics)
    context = {
        "predictor": predictor,
        "segmentation": read_metrics(metrics / "segmentation.json", SegmentationMetrics),
        "detection": detection,
        "classification": read_metrics(metrics / "classification.json", ClassificationMetrics),
        "data": figures,
        "problems": problem_rows(figures.problems),
        "export": export_tables(read_metrics(metrics / "export.json", ExportMetrics).root),
        "training": read_training(reports / "curves"),
        "precision_recall": read_precision_recall(
            reports / "plots/precision_recall.csv", detection.ap50, predictor.det_class_names
        ),
        "confusion": read_confusion(reports / "plots/confusion.csv", predictor.cls_class_names),
        # Drawn last: it takes longest, and what is missing above shows at once.
        "galleries": {
            task: draw_gallery(
                predictor, task, prepared=Path(prepared), splits=Path(splits), data=data, settings=settings
            )
            for task in TASKS
        },
    }
    return render(context)


def render(context: Mapping[str, object]) -> str:
    """Fill the template; everything is escaped, and a name that is not there is an error."""
    folder = Path(__file__).parent
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    style = (folder / STYLE).read_text(encoding="utf-8")
    return environment.get_template(TEMPLATE).render(context, style=style)


def problem_rows(problems: Mapping[str, int]) -> list[ProblemRow]:
    """Problems by code; a code of another version has no severity and no remedy."""
    rows = []
    for code, count in sorted(problems.items()):
        severity, remedy = CATALOGUE.get(code, ("", ""))
        rows.append(ProblemRow(code, severity, count, remedy))
    return rows


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
