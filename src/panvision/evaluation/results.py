"""Per-image results of evaluation, so that intervals, comparisons and the report need neither model nor images.

`reports/results/<task>.json` is one JSON object with a line per image: `format`, `task`, `split`, `trained` (False if
the model does not have this task), `classes` (names by index), chosen values, and `images`, in the order of the packed
dataset. Every image has `file` (below `<data.root>/<dataset>`), `sha256` of that file, `group` (images that splits.csv
keeps together), `width`, `height`, and the fields of its task (`record` in `evaluation/<task>.py`). `explanation`, if
the model was a checkpoint, has `heat`, an activation map of `encode_heat`, and the fields of what it explains (`target`
there); files of earlier versions have none.

`reports/results/predictions.json` holds the whole result of the shipped model on every test image: `format`, `model`
and `images`, a line each: `dataset`, `file` and `result`, a part per task of the model.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from panvision.core.files import write_text
from panvision.photos.heat import resize_heat

FORMAT = 1
# Most cells of a stored activation map along a side, and values of a cell.
HEAT_CELLS, HEAT_LEVELS = 32, 16
_REMEDY = "evaluate again: `dvc repro evaluate`"


class ResultsError(ValueError):
    """Raised for per-image results that cannot be used; the message names the file and the remedy."""


@dataclass(frozen=True)
class Results:
    """Results of one task on one split.

    Attributes:
        task: key of TASKS.
        split: name of the split.
        trained: True if the model has the task.
        classes: class names by index.
        images: one record per image.
        thresholds: by class; empty if the task has none. Those of detection are shipped; those of classification
            separate one class from the rest, and are chosen on the validation split.
        temperature: by which the model divides the logits; None if it has none.
        order: the class labels of classification from first to last; None without an order.
        costs: of mistakes: `miss` and `false_alarm` of detection, `confusions` (C, C) of classification as in
            `ModelShape`; None if unknown.
    """

    task: str
    split: str
    trained: bool
    classes: list[str]
    images: list[Any]
    thresholds: list[float | None] = field(default_factory=list)
    temperature: float | None = None
    order: list[str] | None = None
    costs: dict[str, Any] | None = None

    @property
    def ordered_classes(self) -> list[str]:
        """Class names from first to last if they have an order, else by index."""
        return self.classes if self.order is None else self.order

    def text(self) -> str:
        """Return the text of the file, equal for equal results."""
        return _text({each.name: getattr(self, each.name) for each in fields(self)})

    def write(self, path: str | Path) -> None:
        """Write the file, whole or not at all."""
        write_text(path, self.text())


@dataclass(frozen=True)
class Predictions:
    """Results of the shipped model on the test images of all datasets.

    Attributes:
        model: `image_size`, and the `score_threshold` (a number, or one for each class by its name), `nms_threshold`
            and `max_detections` of the boxes.
        images: one entry per image; masks are encoded by `encode_mask`.
    """

    model: dict[str, Any]
    images: list[dict[str, Any]]

    def write(self, path: str | Path) -> None:
        """Write the file, whole or not at all."""
        write_text(path, _text(vars(self)))


def read_results(path: str | Path) -> Results:
    """Read a file that `Results.write` wrote.

    Raises:
        ResultsError: the file is missing or something else.
    """
    return parse_results(_read(path), str(path))


def parse_results(text: str, name: str) -> Results:
    """Parse the text of a results file; `name` is the file's name in messages.

    Raises:
        ResultsError: the text is something else, or has another version.
    """
    values = _parse(text, name)
    try:
        return Results(**values)
    except TypeError as error:
        raise ResultsError(f"{name}: damaged ({error}); {_REMEDY}") from error


def read_predictions(path: str | Path) -> Predictions:
    """Read a file that `Predictions.write` wrote.

    Raises:
        ResultsError: the file is missing or something else.
    """
    return parse_predictions(_read(path), str(path))


def parse_predictions(text: str, name: str) -> Predictions:
    """Parse the text of predictions.json; `name` is the file's name in messages.

    Raises:
        ResultsError: the text is something else, or has another version.
    """
    values = _parse(text, name)
    try:
        return Predictions(**values)
    except TypeError as error:
        raise ResultsError(f"{name}: damaged ({error}); {_REMEDY}") from error


def encode_mask(mask: npt.NDArray[np.uint8]) -> dict[str, Any]:
    """Encode a mask (H, W), not 0 on the pan, as COCO's compressed run lengths: `{"size": [H, W], "counts"}`."""
    from pycocotools import mask as coco

    encoded = coco.encode(np.asfortranarray(mask != 0, dtype=np.uint8))
    return {"size": list(mask.shape), "counts": encoded["counts"].decode("ascii")}


def decode_mask(encoded: Mapping[str, Any]) -> npt.NDArray[np.uint8]:
    """Decode what `encode_mask` returned, (H, W) uint8, 255 on the pan, else 0."""
    from pycocotools import mask as coco

    return np.ascontiguousarray(coco.decode({**encoded, "counts": encoded["counts"].encode()})) * np.uint8(255)


def encode_heat(heat: npt.NDArray[np.float32]) -> list[str]:
    """Encode an activation map (h, w) from 0 to 1 as a string per row, with a hexadecimal digit per cell.

    Larger maps are reduced to `HEAT_CELLS` a side. A sixteenth is far above the rounding errors of the network.
    """
    height, width = (min(side, HEAT_CELLS) for side in heat.shape)
    digits = np.rint(resize_heat(heat, width, height) * (HEAT_LEVELS - 1)).astype(int)
    return ["".join(f"{digit:x}" for digit in row) for row in digits.tolist()]


def decode_heat(rows: Sequence[str]) -> npt.NDArray[np.float32]:
    """Decode what `encode_heat` returned, (h, w) float32 from 0 to 1."""
    return np.array([[int(digit, HEAT_LEVELS) / (HEAT_LEVELS - 1) for digit in row] for row in rows], np.float32)


def _text(values: Mapping[str, Any]) -> str:
    head = {"format": FORMAT, **{name: value for name, value in values.items() if name != "images"}}
    lines = ",\n".join(_dumps(image) for image in values["images"])
    return f'{_dumps(head)[:-1]},"images":[\n{lines}\n]}}\n'


def _read(path: str | Path) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ResultsError(f"{path}: no such file; run `dvc repro evaluate`, or `dvc pull` if others did") from error
    except UnicodeDecodeError as error:
        raise ResultsError(f"{path}: not a results file ({error}); {_REMEDY}") from error


def _parse(text: str, name: str) -> dict[str, Any]:
    try:
        values: dict[str, Any] = json.loads(text)
        version = values.pop("format")
    except (json.JSONDecodeError, AttributeError, KeyError, TypeError) as error:
        raise ResultsError(f"{name}: no per-image results ({error!r}); {_REMEDY}") from error
    if version != FORMAT:
        raise ResultsError(f"{name}: has format {version}, this version reads {FORMAT}; evaluate again with this one")
    return values


def _dumps(value: Any) -> str:
    return json.dumps(value, sort_keys=True, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
