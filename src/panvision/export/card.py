"""The model card: purpose, data, metrics and limits of a shipped model, as Markdown.

Its headings are those of Mitchell et al. 2019, Model Cards for Model Reporting, as far as a pipeline knows their
content; people fill in the rest. It contains no time and no path of a machine, so the same model gives the same bytes.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from panvision.core.tasks import TASKS, Task, headline_metrics
from panvision.export.errors import ExportError
from panvision.export.scores import LIMITED
from panvision.inference.backend import ModelInfo

# Metrics of the card that are not headline metrics. A key that ends in `.` is a metric per class.
EXTRA = {
    "iou.pan": "IoU of the pan",
    "ap50.": "AP@0.5, ",
    "recall.": "recall, ",
    "ece": "calibration error",
}
# Keys of the card in their order; a task without a row shows its headline metrics.
SHOWN: dict[Task, tuple[str, ...]] = {
    "segmentation": ("miou", "iou.pan", "dice"),
    "detection": ("map50", "map50_95", "ap50."),
    "classification": ("accuracy", "balanced_accuracy", "recall.", "ece"),
}
ANSWERS: dict[Task, str] = {
    "segmentation": "where the pan is, as a mask",
    "detection": "where the objects are, as boxes: {boxes}",
    "classification": "what state the onions are in: {states}",
}
MAKERS = {"data": "python stages/validate.py"} | dict.fromkeys(TASKS, "python stages/evaluate.py")
# With fewer images, one image moves a metric of a class by more than five points.
FEW = 20

_NAMES = {key: name for _, key, name in headline_metrics()} | EXTRA
_COMPARED = {metric.key for _, metric in LIMITED}

Metrics = Mapping[str, Mapping[str, Any]]


def read_metrics(folder: str | Path, tasks: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Read the metrics of a card, by the name of their file.

    Args:
        folder: contains data.json and <task>.json.
        tasks: tasks of the model.

    Raises:
        ExportError: a file is missing, damaged, or of a model with other tasks.
    """
    metrics: dict[str, dict[str, Any]] = {}
    for name, maker in MAKERS.items():
        path = Path(folder) / f"{name}.json"
        try:
            metrics[name] = dict(json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError as error:
            raise ExportError(f"{path}: missing; run `{maker}`") from error
        except (TypeError, ValueError) as error:
            raise ExportError(f"{path}: damaged ({error}); run `{maker}` again") from error
        if name in TASKS and (metrics[name].get("images") is not None) != (name in tasks):
            raise ExportError(f"{path}: metrics of a model with other tasks; run `{maker}` again")
    return metrics


def model_card(info: ModelInfo, metrics: Metrics, *, max_drop: float) -> str:
    """Return the text of the card.

    Args:
        info: description in the model file.
        metrics: contents of data.json, <task>.json and export.json.
        max_drop: largest loss of a metric that INT8 is accepted with.
    """
    export = metrics["export"]
    parts = [
        "# Model card: panvision",
        _answers(info),
        "Written by the `export` stage from the model's metadata and `metrics/`; it overwrites changes to this file.",
        "## Files",
        _table(("file", "numbers", "runs on", "MB"), _files(export)),
        _int8_verdict(export, max_drop),
        "## Input and output",
        _interface(info),
        "## Data",
        _table(("dataset", "", "training", "validation", "test"), _counts(info, metrics["data"])),
        "## Metrics on the test split",
        "Measured on the raw photos, in their own pixels. Undefined metrics are shown as –.",
        _table(("metric", "checkpoint", "95 % interval", "ONNX", "INT8", "INT8 loses"), _scores(info, metrics)),
        "## Limits",
        _bullets(_limits(info, metrics)),
        "## Use",
        USE,
        "## Origin",
        _table(("SHA-256", ""), [("params", _code(info.params_sha256)), ("data", _code(info.data_sha256))]),
        "Each model file has both in its metadata; `panvision predict` prints them.",
        "## To be filled in by the publisher of the model",
        _bullets(["Licence of the weights:", "Where the photos come from, and their licence:", "Contact:"]),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


USE = """\
```
pip install .                             # in panvision's repository
panvision predict --checkpoint panvision.onnx --input_dir photos --output_dir outputs --visualize
```

```python
from panvision.inference import infer_image, load_model

model, checkpoint_info = load_model("panvision.onnx")
result = infer_image(model, "photo.jpg", checkpoint_info)
```"""


def _answers(info: ModelInfo) -> str:
    names = {"boxes": _names(info.det_class_names), "states": _names(info.state_order or info.cls_class_names)}
    answers = [ANSWERS.get(task, task).format(**names) for task in info.tasks]
    return f"From one photo of a cooking pan, one network predicts\n\n{_bullets(answers)}"


def _files(export: Mapping[str, Any]) -> list[Sequence[str]]:
    runs_on = {
        "onnx": ("`panvision.onnx`", "float32", "ONNX Runtime, OpenVINO, TensorRT"),
        "int8": ("`panvision.int8.onnx`", "INT8, last layers float32", "ONNX Runtime, OpenVINO"),
        "checkpoint": ("`best_model.pth`", "float32", "PyTorch"),
    }
    sizes = export["size_mb"]
    return [(*row, _number(sizes[name], 1)) for name, row in runs_on.items() if sizes.get(name) is not None]


def _int8_verdict(export: Mapping[str, Any], max_drop: float) -> str:
    """One sentence on whether INT8 may replace the float file."""
    verdict = export["int8"]
    if verdict is None:
        return "There is no INT8 file: `export.int8` is false."
    limit = f"{100 * max_drop:g} {'point' if max_drop == 0.01 else 'points'} (`export.max_drop`)"
    if verdict["accepted"] is None:
        return "INT8 is **not checked**: the test split has no photo to score."
    defined = {name: drop for name, drop in verdict["drop"].items() if drop is not None}
    worst = max(defined, key=lambda name: defined[name])
    loss = f"the largest loss is that of {_NAMES[worst]}, {_points(defined[worst])} points"
    if defined[worst] <= 0.0:
        loss = "no metric loses anything"
    if verdict["accepted"]:
        return f"INT8 is **accepted**: no headline metric loses more than {limit}; {loss}."
    return f"INT8 is **not accepted**: a headline metric loses more than {limit}; {loss}. Use the float file."


def _interface(info: ModelInfo) -> str:
    size = info.image_size
    thresholds = info.thresholds
    lines = [
        f"Input `images`: (N, {size}, {size}, 3) uint8, RGB, any N; the whole photo resized to the square. "
        "Normalisation is inside.",
        f"Outputs: {', '.join(f'`{name}`' for name in info.output_names)}, undecoded; "
        "`panvision` turns them into a mask, boxes and a state in the photo's own pixels.",
    ]
    if info.limits is not None:
        pan = "no pan, or " if info.limits.pan_area or info.limits.pan_score else ""
        lines.append(
            f"No state is answered where the model sees {pan}features farther from the training images than "
            f"{info.limits.distance:g}, the distance `cls_distance`."
        )
    if "detection" in info.tasks:
        lines.append(
            f"Boxes are reported with a score of at least {_scores_text(info)}, at most {thresholds.max_detections} "
            f"per photo; of two boxes of one class with an IoU above {thresholds.nms:g}, only the better one."
        )
    return _bullets(lines)


def _scores_text(info: ModelInfo) -> str:
    """Return the score threshold, for each class if they differ."""
    limits = info.thresholds.by_class(len(info.det_class_names))
    if len(set(limits)) == 1:
        return f"{limits[0]:g}"
    return ", ".join(f"{limit:.2f} ({_text(name)})" for name, limit in zip(info.det_class_names, limits, strict=True))


def _counts(info: ModelInfo, data: Mapping[str, Any]) -> list[Sequence[str]]:
    """Number of images of each split, by dataset and class."""
    rows: list[Sequence[str]] = []
    for name in _datasets(info):
        own = data.get(name) or {}
        rows.append((name, "photos", *_splits(own)))
        rows += [("", _text(label), *_splits(counts)) for label, counts in sorted((own.get("classes") or {}).items())]
    return rows


def _datasets(info: ModelInfo) -> list[str]:
    """Datasets of the model's tasks, each once."""
    return list(dict.fromkeys(TASKS[task].dataset for task in info.tasks))


def _splits(counts: Mapping[str, Any]) -> list[str]:
    return [_number(counts.get(split), 0) for split in ("train", "val", "test")]


def _scores(info: ModelInfo, metrics: Metrics) -> list[Sequence[str]]:
    """Rows of the table of metrics."""
    export = metrics["export"]
    rows: list[Sequence[str]] = []
    for task in info.tasks:
        own = metrics[task]
        for key, name in _shown(task, own):
            onnx, int8 = ((export["scores"][file] or {}).get(key) for file in ("onnx", "int8"))
            drop = ((export["int8"] or {}).get("drop") or {}).get(key)
            cells = [_number(value, 3) for value in (onnx, int8)] if key in _COMPARED else ["", ""]
            lost = f"{_points(drop)} points" if drop is not None else ""
            rows.append((name, _number(_at(own, key), 3), _interval(own, key), *cells, lost))
    return rows


def _shown(task: Task, own: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Key and name of each metric of a task in its metrics file, one per class where it has classes."""
    found: list[tuple[str, str]] = []
    for key in SHOWN.get(task, [metric.key for metric in TASKS[task].metrics]):
        if key.endswith("."):
            found += [(key + label, _NAMES[key] + _text(label)) for label in sorted(own.get(key[:-1]) or {})]
        elif key in _COMPARED or _at(own, key) is not None:
            found.append((key, _NAMES[key]))
    return found


def _at(values: Mapping[str, Any], key: str) -> Any:
    """Return the value of a dotted key. Only the first dot separates, because class names may contain dots."""
    outer, dot, inner = key.partition(".")
    value = values.get(outer)
    return (value or {}).get(inner) if dot else value


def _limits(info: ModelInfo, metrics: Metrics) -> list[str]:
    size = info.image_size
    limits = [
        "The metrics are valid for photos like those of the test split. Other kitchens, cameras, pans and light were "
        "not measured.",
        f"The network sees each photo as {size} × {size} pixels: it cannot see details of a few of these pixels.",
    ]
    if "classification" in info.tasks:
        limits.append("It predicts one of its states for every photo, even without onions in it.")
    few = [f"{_text(name)} ({count})" for name, count in _rare(info, metrics["data"])]
    if few:
        limits.append(
            f"Fewer than {FEW} test photos, so that one photo moves the metric by over five points: {', '.join(few)}."
        )
    limits.append("It is not a safety device: nothing that protects people or a kitchen may depend on it alone.")
    return limits


def _rare(info: ModelInfo, data: Mapping[str, Any]) -> Iterable[tuple[str, int]]:
    """Classes with few test images, and their number of test images."""
    for dataset in _datasets(info):
        for name, counts in sorted(((data.get(dataset) or {}).get("classes") or {}).items()):
            count = counts.get("test")
            if count is not None and count < FEW:
                yield name, count


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _names(names: Sequence[str]) -> str:
    return ", ".join(map(_text, names))


def _text(name: str) -> str:
    """Escape a name of the user's for Markdown: one line, every ASCII punctuation character escaped."""
    plain = "".join(char if char.isprintable() else " " for char in name)
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", " ".join(plain.split()))


def _code(value: str | None) -> str:
    return "unknown" if value is None else f"`{value}`"


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _interval(metrics: Mapping[str, Any], key: str) -> str:
    value = (metrics.get("ci95") or {}).get(key)
    if not value:
        reason = (metrics.get("ci95_null") or {}).get(key, "undefined")
        return "–" if reason == "undefined" else str(reason).replace("_", " ")
    return f"{value['low']:.3f} to {value['high']:.3f}"


def _points(fraction: float) -> str:
    """Format a difference of fractions in points; never a negative zero."""
    return f"{round(100 * fraction, 2) + 0.0:.2f}"
