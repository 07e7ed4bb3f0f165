"""The interface of a loaded model file, and the description that a model file contains."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol, Self, cast, runtime_checkable

import numpy as np
import numpy.typing as npt

from panvision.core.tasks import MOST_CLASSES, TASKS
from panvision.decoding.decoder import AnswerLimits, FloatArray, ModelShape, RawOutputs, Thresholds
from panvision.decoding.table import DECODERS
from panvision.inference.explanation import Target
from panvision.inference.origin import MOST_IMAGES, unpack_images
from panvision.scoring.calibration import HIGHEST, LOWEST

# `auto` is the model's own: chosen on validation images.
ScoreThreshold = float | Literal["auto"] | Mapping[str, float]

# What runs an exported model, and the numbers that it computes with.
Runtime = Literal["onnxruntime", "openvino"]
Precision = Literal["float32", "bfloat16", "int8"]

METADATA_KEY = "panvision"
METADATA_VERSION = 1

# Limits of a model file's metadata; params.yaml allows less.
LARGEST_SIDE = 4096
MOST_NAMES = MOST_CLASSES
LONGEST_NAME = 200  # characters
MOST_COUNTED = 100_000
MOST_FEATURES = 4096
LONGEST_SHOWN = 200  # characters of a value in a message
# Control characters, line separators, characters that change the direction of writing, and surrogates.
_NOT_ONE_LINE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_NEIGHBOURS = frozenset((4, 8, 16, 32)[first:last] for first in range(4) for last in range(first + 1, 5))


class PredictorError(ValueError):
    """Raised for a model file or an input that cannot be used; the message names it, the reason and the remedy."""


@dataclass(frozen=True)
class ModelInfo(ModelShape):
    """The description that a model file contains.

    Attributes:
        tasks: tasks of the model, in the order of TASKS.
        params_sha256: hash of the settings that it was trained with (`panvision.inference.origin`); None if unknown.
        data_sha256: hash of the data that it was trained and tested on; None if unknown.
        state_order: the class labels of classification from the first to the last; empty if they have no order or it
            is unknown.
        training_images: hashes of the images that it was trained with (`panvision.inference.origin.pack_images`); None
            if unknown.
    """

    tasks: tuple[str, ...] = tuple(TASKS)
    params_sha256: str | None = None
    data_sha256: str | None = None
    state_order: tuple[str, ...] = ()
    training_images: str | None = field(default=None, repr=False)

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the raw outputs, in the order of the file."""
        return tuple(output_shapes(self))

    @property
    def score_threshold(self) -> float | dict[str, float]:
        """Score below which boxes are not reported, one number or one for each class by its name."""
        score = self.thresholds.score
        return dict(zip(self.det_class_names, score, strict=True)) if isinstance(score, tuple) else score

    def to_metadata(self) -> str:
        """Return the JSON that an ONNX file contains under the key `panvision`."""
        values = {
            "version": METADATA_VERSION,
            "tasks": list(self.tasks),
            "image_size": self.image_size,
            "strides": list(self.strides),
            "det_class_names": list(self.det_class_names),
            "cls_class_names": list(self.cls_class_names),
            # The lowest, for programs that know one number only.
            "score_threshold": min(self.thresholds.by_class(1)),
            "nms_threshold": self.thresholds.nms,
            "max_detections": self.thresholds.max_detections,
            "temperature": self.temperature,
            "params_sha256": self.params_sha256,
            "data_sha256": self.data_sha256,
            "state_order": list(self.state_order),
            "training_images": self.training_images,
        }
        if isinstance(self.thresholds.score, tuple):
            values["score_thresholds"] = list(self.thresholds.score)
        if self.costs:
            values["confusion_costs"] = [list(row) for row in self.costs]
        if self.limits is not None:
            values["answers"] = self.limits._asdict()
        if self.features:
            values["features"] = self.features
        return json.dumps(values, sort_keys=True)

    @classmethod
    def from_metadata(cls, text: str, path: str | Path) -> Self:
        """Read the JSON that `to_metadata` returned.

        Raises:
            PredictorError: the text is something else, or has another version; the message names `path`.
        """
        try:
            values = _Values(text)
            version = values.get("version", int)
            if version == METADATA_VERSION:
                info = cls(
                    image_size=values.get("image_size", int),
                    strides=values.several("strides", int),
                    det_class_names=values.several("det_class_names", str),
                    cls_class_names=values.several("cls_class_names", str),
                    thresholds=Thresholds(
                        score=values.several("score_thresholds", float, ()) or values.get("score_threshold", float),
                        nms=values.get("nms_threshold", float),
                        max_detections=values.get("max_detections", int),
                    ),
                    # Older files lack the following keys.
                    temperature=values.get("temperature", float, 1.0),
                    tasks=values.several("tasks", str, tuple(TASKS)),
                    params_sha256=values.get("params_sha256", str, None),
                    data_sha256=values.get("data_sha256", str, None),
                    state_order=values.several("state_order", str, ()),
                    training_images=values.get("training_images", str, None),
                    costs=values.rows("confusion_costs", float),
                    limits=read_limits(values.get("answers", dict, None)),
                    features=values.get("features", int, 0),
                )
                return cast("Self", checked(info))
        except (ValueError, RecursionError) as error:
            raise PredictorError(f"{path}: its panvision metadata is damaged ({error}); export it again") from error
        raise PredictorError(
            f"{path}: panvision metadata of version {_shown(version)}, but this panvision reads {METADATA_VERSION}; "
            "export it again or install the panvision that wrote it"
        )


def cost_matrix(confusions: Mapping[str, Mapping[str, float]], names: Sequence[str]) -> tuple[tuple[float, ...], ...]:
    """Return the costs (C, C) of C class labels as in `ModelShape`; empty without any.

    Args:
        confusions: true label → predicted one → cost; others cost 1, and a right answer nothing.
        names: of the labels.

    Raises:
        ValueError: another label is named, or the cost of a right answer.
    """
    if not any(confusions.values()):
        return ()
    pairs = [(true, said) for true, others in confusions.items() for said in others]
    if wrong := [f"{true} as {said}" for true, said in pairs if true == said or not {true, said} <= set(names)]:
        raise ValueError(f"decision.costs.confusions: {wrong[0]}; name two different labels of {', '.join(names)}")
    return tuple(
        tuple(0.0 if true == said else confusions.get(true, {}).get(said, 1.0) for said in names) for true in names
    )


def read_limits(values: Mapping[str, Any] | None) -> AnswerLimits | None:
    """Return the limits of `AnswerLimits._asdict`; None is None.

    Raises:
        ValueError: the values are something else.
    """
    if values is None:
        return None
    numbers = all(value is None or type(value) in (int, float) for value in values.values())
    if set(values) != set(AnswerLimits._fields) or not numbers:
        raise ValueError(f"answers is {_shown(dict(values))}")
    return AnswerLimits(**values)


class _Values:
    """Typed access to the values of a JSON object.

    Raises:
        ValueError: the text is not an object, or a value is missing or has another type.
    """

    def __init__(self, text: str) -> None:
        values = json.loads(text)
        if not isinstance(values, dict):
            raise ValueError("not a JSON object")
        self._values: dict[str, Any] = values

    def get(self, name: str, kind: type, *default: Any) -> Any:
        """Return one value; a float may be written as an integer."""
        if name not in self._values and not default:
            raise ValueError(f"{name} is missing")
        value = self._values.get(name, *default)
        if kind is float and type(value) is int and abs(value) < MOST_COUNTED:
            value = float(value)
        if type(value) is not kind and not (default == (None,) and value is None):
            raise ValueError(f"{name} is {_shown(value)}")
        return value

    def several(self, name: str, kind: type, *default: Any) -> Any:
        """Return a list of values as a tuple."""
        values = self.get(name, list) if name in self._values or not default else default[0]
        if len(values) > MOST_NAMES or not all(type(value) is kind for value in values):
            raise ValueError(f"{name} is {_shown(values)}")
        return tuple(values)

    def rows(self, name: str, kind: type) -> Any:
        """Return a list of lists as a tuple of tuples; empty if it is missing."""
        rows = self.several(name, list, ())
        if not all(len(row) == len(rows) and all(type(value) is kind for value in row) for row in rows):
            raise ValueError(f"{name} is {_shown(rows)}")
        return tuple(map(tuple, rows))


def checked(info: ModelInfo) -> ModelInfo:
    """Return the description with its tasks in the order of TASKS, if training can produce such a model.

    Raises:
        ValueError: it cannot; the message names the impossible values.
    """
    names, size = (*info.det_class_names, *info.cls_class_names), info.image_size
    thresholds = info.thresholds
    tasks = tuple(task for task in TASKS if task in info.tasks)
    possible = {
        "image_size": type(size) is int and 32 <= size <= LARGEST_SIDE and size % 32 == 0,
        "strides": info.strides in _NEIGHBOURS,
        "tasks": bool(tasks) and len(tasks) == len(info.tasks),
        "class names": all(0 < len(name) <= LONGEST_NAME and not _NOT_ONE_LINE.search(name) for name in names),
        "det_class_names": _are_names(info.det_class_names, wanted="detection" in tasks),
        "cls_class_names": _are_names(info.cls_class_names, wanted="classification" in tasks),
        "thresholds": all(0.0 <= value <= 1.0 for value in (*thresholds.by_class(1), thresholds.nms))
        and (not isinstance(thresholds.score, tuple) or len(thresholds.score) == len(info.det_class_names)),
        "costs": not info.costs or _are_costs(info.costs, len(info.cls_class_names)),
        "temperature": LOWEST <= info.temperature <= HIGHEST,
        "max_detections": 1 <= thresholds.max_detections <= MOST_COUNTED,
        "hashes": all(
            value is None or (len(value) <= LONGEST_NAME and not _NOT_ONE_LINE.search(value))
            for value in (info.params_sha256, info.data_sha256)
        ),
        "answers": info.limits is None or _are_limits(info.limits, info),
        "features": 0 <= info.features <= (MOST_FEATURES if info.limits is not None else 0),
        "state_order": not info.state_order or sorted(info.state_order) == sorted(info.cls_class_names),
        "training_images": info.training_images is None or _are_images(info.training_images),
    }
    wrong = [name for name, fits in possible.items() if not fits]
    if wrong:
        raise ValueError(f"{' and '.join(wrong)} cannot be right: {_shown(info)}")
    return replace(info, tasks=tasks)


def _are_images(text: str) -> bool:
    try:
        return len(unpack_images(text)) <= MOST_IMAGES
    except (ValueError, TypeError):
        return False


def _are_costs(costs: Sequence[Sequence[float]], count: int) -> bool:
    """True if costs are (count, count), 0 to MOST_COUNTED, and 0 for a right answer."""
    return [len(row) for row in costs] == [count] * count and all(
        0.0 <= cost <= MOST_COUNTED and (cost == 0.0 or true != said)
        for true, row in enumerate(costs)
        for said, cost in enumerate(row)
    )


def _are_limits(limits: AnswerLimits, info: ModelInfo) -> bool:
    """True if every limit is in its range and the model has what it is compared with."""
    fractions = {"segmentation": limits.pan_area, "detection": limits.pan_score}
    return (
        "classification" in info.tasks
        and limits.distance is not None
        and 0.0 < limits.distance < math.inf
        and all(value is None or (task in info.tasks and 0.0 <= value <= 1.0) for task, value in fractions.items())
        and type(limits.pan_label) is int
        and (limits.pan_score is None or 0 <= limits.pan_label < len(info.det_class_names))
    )


def _are_names(names: Sequence[str], *, wanted: bool) -> bool:
    return bool(names) == wanted and len(set(names)) == len(names) <= MOST_NAMES


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= LONGEST_SHOWN else text[: LONGEST_SHOWN - 1] + "…"


def output_shapes(info: ModelInfo) -> dict[str, tuple[int, ...]]:
    """Shape of each raw output of one image, by name, in the order of the file."""
    return {name: shape for task in info.tasks for name, shape in DECODERS[task].shapes(info).items()}


class Backend(Protocol):
    """One loaded model file."""

    info: ModelInfo

    def run(self, images: npt.NDArray[np.uint8]) -> RawOutputs:
        """Run images (N, S, S, 3) uint8 RGB, N ≥ 1, through the network."""
        ...


@runtime_checkable
class Explainer(Protocol):
    """A backend that has gradients, and so can explain scores."""

    def explain(self, images: npt.NDArray[np.uint8], targets: Sequence[Target]) -> list[FloatArray]:
        """Return an activation map (h, w) float32 from 0 to 1 of each image (N, S, S, 3) uint8 RGB for its target."""
        ...
