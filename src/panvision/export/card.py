"""The model card: what a shipped model does, on which data, how well, and where it ends, as Markdown.

Its headings are those of Mitchell et al. 2019, Model Cards for Model Reporting, as far as a pipeline can know what
belongs below them; what only people know stands there as a line to be filled in. Nothing in it is a time or a path of
a machine, so it repeats byte for byte.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from panvision.core.tasks import TASKS
from panvision.export.errors import ExportError
from panvision.export.scores import HEADLINE
from panvision.inference.backend import ModelInfo

# Figures of each metrics file that the card shows: key, name. A key that ends in `.` is a figure per class.
SHOWN = {
    "segmentation": (("miou", "mIoU"), ("iou.pan", "IoU of the pan"), ("dice", "Dice")),
    "detection": (("map50", "mAP@0.5"), ("map50_95", "mAP@[.5:.95]"), ("ap50.", "AP@0.5, ")),
    "classification": (
        ("accuracy", "accuracy"),
        ("balanced_accuracy", "balanced accuracy"),
        ("recall.", "recall, "),
        ("ece", "calibration error"),
    ),
}
MAKERS = {"data": "python stages/validate.py"} | dict.fromkeys(SHOWN, "python stages/evaluate.py")
# Below this, one photo moves a class's figure by more than five points.
FEW = 20

Metrics = Mapping[str, Mapping[str, Any]]


def read_figures(folder: str | Path, tasks: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The metrics that a card shows, by the name of their file.

    Args:
        folder: holds data.json, segmentation.json, detection.json and classification.json.
        tasks: the model's.

    Raises:
        ExportError: one is missing, damaged, or of a model with other tasks; with the remedy.
    """
    figures = {}
    for name, maker in MAKERS.items():
        path = Path(folder) / f"{name}.json"
        try:
            figures[name] = dict(json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError as error:
            raise ExportError(f"{path}: missing; run `{maker}`") from error
        except (TypeError, ValueError) as error:
            raise ExportError(f"{path}: damaged ({error}); run `{maker}` again") from error
        if name in SHOWN and (figures[name].get("images") is not None) != (name in tasks):
            raise ExportError(f"{path}: scores of a model with other tasks; run `{maker}` again")
    return figures


def model_card(info: ModelInfo, metrics: Metrics, *, max_drop: float) -> str:
    """The card's text.

    Args:
        info: what the model file says about itself.
        metrics: contents of data.json, <task>.json and export.json; figures that are absent or None are shown so.
        max_drop: what no figure of INT8 may lose more than.
    """
    export = metrics["export"]
    parts = [
        "# Model card: panvision",
        _answers(info),
        "Written by the `export` stage from the model's metadata and `metrics/`: changes to this file are lost.",
        "## Files",
        _table(("file", "numbers", "runs on", "MB"), _files(export)),
        _int8_verdict(export, max_drop),
        "## Input and output",
        _interface(info),
        "## Data",
        _table(("set", "", "training", "validation", "test"), _counts(info, metrics["data"])),
        "## Scores on the test split",
        "Measured on the raw photos, in their own pixels. Undefined figures are shown as –.",
        _table(("figure", "checkpoint", "95 % interval", "ONNX", "INT8", "INT8 loses"), _scores(info, metrics)),
        "## Limits",
        _bullets(_limits(info, metrics)),
        "## Use",
        USE,
        "## Origin",
        _table(("SHA-256", ""), [("params", _code(info.params_sha256)), ("data", _code(info.data_sha256))]),
        "The same two stand in each model file's metadata; `panvision predict` prints them.",
        "## To be filled in by whoever publishes the model",
        _bullets(["Licence of the weights:", "Where the photos come from, and their licence:", "Contact:"]),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


USE = """\
```
pip install panvision
panvision predict --checkpoint panvision.onnx --input_dir photos --output_dir outputs --visualize
```

```python
from panvision.inference import infer_image, load_model

model, checkpoint_info = load_model("panvision.onnx")
result = infer_image(model, "photo.jpg", checkpoint_info)
```"""


def _answers(info: ModelInfo) -> str:
    answers = {
        "segmentation": "where the pan is, as a mask",
        "detection": f"where the objects are, as boxes: {_names(info.det_class_names)}",
        "classification": f"what state the onions are in: {_names(info.state_order or info.cls_class_names)}",
    }
    told = [answers[task] for task in info.tasks]
    return f"From one photo of a cooking pan, one network tells\n\n{_bullets(told)}"


def _files(export: Mapping[str, Any]) -> list[Sequence[str]]:
    runs_on = {
        "onnx": ("`panvision.onnx`", "float32", "ONNX Runtime, OpenVINO, TensorRT"),
        "int8": ("`panvision.int8.onnx`", "INT8, last layers float32", "ONNX Runtime, OpenVINO"),
        "checkpoint": ("`best_model.pth`", "float32", "PyTorch"),
    }
    sizes = export["size_mb"]
    return [(*row, _number(sizes[name], 1)) for name, row in runs_on.items() if sizes.get(name) is not None]


def _int8_verdict(export: Mapping[str, Any], max_drop: float) -> str:
    """One sentence: whether INT8 may stand in for the float file."""
    verdict = export["int8"]
    if verdict is None:
        return "There is no INT8 file: `export.int8` was off."
    limit = f"{100 * max_drop:g} {'point' if max_drop == 0.01 else 'points'} (`export.max_drop`)"
    if verdict["accepted"] is None:
        return "INT8 is **not judged**: the test split has no photo that could be scored."
    defined = {name: drop for name, drop in verdict["drop"].items() if drop is not None}
    worst = max(defined, key=lambda name: defined[name])
    told = f"the figure that loses most is {_NAMES[worst]}, {_points(defined[worst])} points"
    if defined[worst] <= 0.0:
        told = "none loses anything"
    if verdict["accepted"]:
        return f"INT8 is **accepted**: no headline figure loses more than {limit}; {told}."
    return f"INT8 is **not accepted**: a headline figure loses more than {limit}; {told}. Use the float file."


def _interface(info: ModelInfo) -> str:
    size = info.image_size
    thresholds = info.thresholds
    lines = [
        f"Input `images`: (N, {size}, {size}, 3) uint8, RGB, any N; the whole photo resized to the square. "
        "Normalisation is inside.",
        f"Outputs: {', '.join(f'`{name}`' for name in info.output_names)}, undecoded; "
        "`panvision` turns them into a mask, boxes and a state in the photo's own pixels.",
    ]
    if "detection" in info.tasks:
        lines.append(
            f"Boxes are reported from a score of {thresholds.score:g}, at most {thresholds.max_detections} a photo; of "
            f"two of one class that overlap by an IoU above {thresholds.nms:g}, the better."
        )
    return _bullets(lines)


def _counts(info: ModelInfo, data: Mapping[str, Any]) -> list[Sequence[str]]:
    """Photos of each split, by set and class."""
    rows: list[Sequence[str]] = []
    for task in info.tasks:
        own = data.get(task) or {}
        rows.append((task, "photos", *_splits(own)))
        rows += [("", _text(name), *_splits(counts)) for name, counts in sorted((own.get("classes") or {}).items())]
    return rows


def _splits(counts: Mapping[str, Any]) -> list[str]:
    return [_number(counts.get(split), 0) for split in ("train", "val", "test")]


def _scores(info: ModelInfo, metrics: Metrics) -> list[Sequence[str]]:
    """Rows of the table of scores."""
    export = metrics["export"]
    rows: list[Sequence[str]] = []
    for task in info.tasks:
        own = metrics[task]
        for key, name in _figures(task, own):
            onnx, int8 = ((export["scores"][file] or {}).get(key) for file in ("onnx", "int8"))
            drop = ((export["int8"] or {}).get("drop") or {}).get(key)
            cells = [_number(value, 3) for value in (onnx, int8)] if key in HEADLINE else ["", ""]
            lost = f"{_points(drop)} points" if drop is not None else ""
            rows.append((name, _number(_at(own, key), 3), _interval((own.get("ci95") or {}).get(key)), *cells, lost))
    return rows


def _figures(task: str, own: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Key and name of each figure of a task that its metrics file has, classes one by one."""
    found: list[tuple[str, str]] = []
    for key, name in SHOWN[task]:
        if key.endswith("."):
            found += [(key + label, name + _text(label)) for label in sorted(own.get(key[:-1]) or {})]
        elif key in HEADLINE or _at(own, key) is not None:
            found.append((key, name))
    return found


def _at(values: Mapping[str, Any], key: str) -> Any:
    """The figure at a dotted key, where only the first dot divides: classes may have dots in their names."""
    outer, dot, inner = key.partition(".")
    value = values.get(outer)
    return (value or {}).get(inner) if dot else value


def _limits(info: ModelInfo, metrics: Metrics) -> list[str]:
    size = info.image_size
    limits = [
        "The scores hold for photos like those of the test split. Other kitchens, cameras, pans and light were not "
        "measured.",
        f"The network sees each photo as {size} × {size} pixels: what is smaller than a few of these is lost to it.",
    ]
    if "classification" in info.tasks:
        limits.append("It names one of its states for every photo, also where there are no onions.")
    few = [f"{_text(name)} ({count})" for name, count in _rare(info, metrics["data"])]
    if few:
        limits.append(
            f"Fewer than {FEW} test photos, so that one moves the figure by over five points: {', '.join(few)}."
        )
    limits.append("It is no safety device: nothing that protects people or a kitchen may depend on it alone.")
    return limits


def _rare(info: ModelInfo, data: Mapping[str, Any]) -> Iterable[tuple[str, int]]:
    """Classes with few test photos, and how many each has."""
    for task in info.tasks:
        for name, counts in sorted(((data.get(task) or {}).get("classes") or {}).items()):
            count = counts.get("test")
            if count is not None and count < FEW:
                yield name, count


_NAMES = {key: name for task in TASKS for key, name in SHOWN[task] if key in HEADLINE}


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _names(names: Sequence[str]) -> str:
    return ", ".join(map(_text, names))


def _text(name: str) -> str:
    """A name of the user's as Markdown that shows it and does nothing else: one line, every ASCII sign escaped."""
    plain = "".join(sign if sign.isprintable() else " " for sign in name)
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", " ".join(plain.split()))


def _code(value: str | None) -> str:
    return "unknown" if value is None else f"`{value}`"


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _interval(value: Mapping[str, float | None] | None) -> str:
    if not value or value.get("low") is None or value.get("high") is None:
        return "–"
    return f"{value['low']:.3f} to {value['high']:.3f}"


def _points(fraction: float) -> str:
    """A difference of fractions in points; never a negative zero."""
    return f"{round(100 * fraction, 2) + 0.0:.2f}"
