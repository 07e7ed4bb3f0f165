"""What every model file can do, whatever runs it."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self, cast

import numpy as np
import numpy.typing as npt

from panvision.core.tasks import TASKS
from panvision.decoding.boxes import Thresholds

METADATA_KEY = "panvision"
METADATA_VERSION = 1

FloatArray = npt.NDArray[np.float32]

# Outputs of each task, in the order in which they stand in a file.
OUTPUTS_OF = {
    "segmentation": ("mask_logits",),
    "detection": ("class_logits", "ltrb", "centerness"),
    "classification": ("state_logits",),
}
# What a model file may say; params.yaml allows less.
LARGEST_SIDE = 4096
MOST_NAMES = 1000
LONGEST_NAME = 200  # signs
MOST_COUNTED = 100_000
LONGEST_SHOWN = 200  # signs of a message
# Control characters, ends of lines, what turns the direction of writing, and halves of characters.
_NOT_ONE_LINE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_NEIGHBOURS = frozenset((4, 8, 16, 32)[first:last] for first in range(4) for last in range(first + 1, 5))


class PredictorError(ValueError):
    """A model file or an input that cannot be used; the message names it, the reason and the remedy."""


class RawOutputs(NamedTuple):
    """What the network gives for N pictures, undecoded; all float32, P points over all detection levels.

    Outputs of tasks that the model has not are None.

    Attributes:
        mask_logits: (N, S, S).
        class_logits: (N, P, K).
        ltrb: (N, P, 4) distances to the box edges, in strides.
        centerness: (N, P) logits.
        state_logits: (N, C).
    """

    mask_logits: FloatArray | None = None
    class_logits: FloatArray | None = None
    ltrb: FloatArray | None = None
    centerness: FloatArray | None = None
    state_logits: FloatArray | None = None


@dataclass(frozen=True)
class ModelInfo:
    """What a model file says about itself.

    Attributes:
        image_size: side S of the model's square input in pixels.
        strides: detection levels, pixels per cell.
        det_class_names: what the boxes are called, K names; none without detection.
        cls_class_names: what the states are called, C names; none without classification.
        thresholds: which boxes are reported unless the caller says otherwise.
        tasks: what the model answers, some of TASKS in their order.
        params_sha256: of the settings that it was trained with (`panvision.inference.origin`); None where nobody knows.
        data_sha256: of the data that it has seen; likewise.
        state_order: the states from the first to the last, where they follow each other; empty: they do not, or nobody
            has said so.
    """

    image_size: int
    strides: tuple[int, ...]
    det_class_names: tuple[str, ...]
    cls_class_names: tuple[str, ...]
    thresholds: Thresholds
    tasks: tuple[str, ...] = tuple(TASKS)
    params_sha256: str | None = None
    data_sha256: str | None = None
    state_order: tuple[str, ...] = ()

    @property
    def output_names(self) -> tuple[str, ...]:
        """The outputs of the model's tasks, in the order in which they stand in a file."""
        return tuple(name for task in self.tasks for name in OUTPUTS_OF[task])

    def to_metadata(self) -> str:
        """The JSON that an ONNX file carries under the key `panvision`."""
        values = {
            "version": METADATA_VERSION,
            "tasks": list(self.tasks),
            "image_size": self.image_size,
            "strides": list(self.strides),
            "det_class_names": list(self.det_class_names),
            "cls_class_names": list(self.cls_class_names),
            "score_threshold": self.thresholds.score,
            "nms_threshold": self.thresholds.nms,
            "max_detections": self.thresholds.max_detections,
            "params_sha256": self.params_sha256,
            "data_sha256": self.data_sha256,
            "state_order": list(self.state_order),
        }
        return json.dumps(values, sort_keys=True)

    @classmethod
    def from_metadata(cls, text: str, path: str | Path) -> Self:
        """Read what `to_metadata` wrote.

        Raises:
            PredictorError: naming `path`: not such JSON, or of another version.
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
                        score=values.get("score_threshold", float),
                        nms=values.get("nms_threshold", float),
                        max_detections=values.get("max_detections", int),
                    ),
                    # Files from before models could have fewer heads do not name them.
                    tasks=values.several("tasks", str, tuple(TASKS)),
                    # Likewise, before they had hashes.
                    params_sha256=values.get("params_sha256", str, None),
                    data_sha256=values.get("data_sha256", str, None),
                    # And before they knew an order of their states.
                    state_order=values.several("state_order", str, ()),
                )
                return cast("Self", checked(info))
        except (ValueError, RecursionError) as error:
            raise PredictorError(f"{path}: its panvision metadata is damaged ({error}); export it again") from error
        raise PredictorError(
            f"{path}: panvision metadata of version {_shown(version)}, but this panvision reads {METADATA_VERSION}; "
            "export it again or install the panvision that wrote it"
        )


class _Values:
    """A JSON object's values, each of the type that it should have.

    Raises:
        ValueError: it is no object, lacks a value, or has one of another type.
    """

    def __init__(self, text: str) -> None:
        values = json.loads(text)
        if not isinstance(values, dict):
            raise ValueError("no JSON object")
        self._values: dict[str, Any] = values

    def get(self, name: str, kind: type, *default: Any) -> Any:
        """One value; a float may be written as a whole number."""
        if name not in self._values and not default:
            raise ValueError(f"{name} is missing")
        value = self._values.get(name, *default)
        if kind is float and type(value) is int and abs(value) < MOST_COUNTED:
            value = float(value)
        if type(value) is not kind and not (default == (None,) and value is None):
            raise ValueError(f"{name} is {_shown(value)}")
        return value

    def several(self, name: str, kind: type, *default: Any) -> Any:
        """A list of values, as a tuple."""
        values = self.get(name, list) if name in self._values or not default else default[0]
        if len(values) > MOST_NAMES or not all(type(value) is kind for value in values):
            raise ValueError(f"{name} is {_shown(values)}")
        return tuple(values)


def checked(info: ModelInfo) -> ModelInfo:
    """The same, if training can have made such a model; its tasks in the order of TASKS.

    Raises:
        ValueError: it cannot; the message says what is impossible.
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
        "thresholds": all(0.0 <= value <= 1.0 for value in (thresholds.score, thresholds.nms)),
        "max_detections": 1 <= thresholds.max_detections <= MOST_COUNTED,
        "hashes": all(
            value is None or (len(value) <= LONGEST_NAME and not _NOT_ONE_LINE.search(value))
            for value in (info.params_sha256, info.data_sha256)
        ),
        "state_order": not info.state_order or sorted(info.state_order) == sorted(info.cls_class_names),
    }
    wrong = [name for name, fits in possible.items() if not fits]
    if wrong:
        raise ValueError(f"{' and '.join(wrong)} cannot be right: {_shown(info)}")
    return replace(info, tasks=tasks)


def _are_names(names: Sequence[str], *, wanted: bool) -> bool:
    return bool(names) == wanted and len(set(names)) == len(names) <= MOST_NAMES


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= LONGEST_SHOWN else text[: LONGEST_SHOWN - 1] + "…"


def output_shapes(info: ModelInfo) -> dict[str, tuple[int, ...]]:
    """Shapes of a model's outputs for one picture, by name."""
    size, places = info.image_size, sum((info.image_size // stride) ** 2 for stride in info.strides)
    shapes = {
        "mask_logits": (size, size),
        "class_logits": (places, len(info.det_class_names)),
        "ltrb": (places, 4),
        "centerness": (places,),
        "state_logits": (len(info.cls_class_names),),
    }
    return {name: shapes[name] for name in info.output_names}


class Backend(Protocol):
    """One loaded model file."""

    info: ModelInfo

    def run(self, images: npt.NDArray[np.uint8]) -> RawOutputs:
        """Run pictures (N, S, S, 3) uint8 RGB, N ≥ 1, through the network."""
        ...
