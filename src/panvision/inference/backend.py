"""What every model file can do, whatever runs it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self

import numpy as np
import numpy.typing as npt

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
TASKS = tuple(OUTPUTS_OF)


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
        params_sha256: of the settings that it was trained with (`panvision.origin`); None where nobody knows.
        data_sha256: of the data that it has seen; likewise.
        state_order: the states from the first to the last, where they follow each other; empty: they do not, or nobody
            has said so.
    """

    image_size: int
    strides: tuple[int, ...]
    det_class_names: tuple[str, ...]
    cls_class_names: tuple[str, ...]
    thresholds: Thresholds
    tasks: tuple[str, ...] = TASKS
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
            values: dict[str, Any] = json.loads(text)
            version = values["version"]
            if version == METADATA_VERSION:
                return cls(
                    image_size=int(values["image_size"]),
                    strides=tuple(int(stride) for stride in values["strides"]),
                    det_class_names=tuple(str(name) for name in values["det_class_names"]),
                    cls_class_names=tuple(str(name) for name in values["cls_class_names"]),
                    thresholds=Thresholds(
                        score=float(values["score_threshold"]),
                        nms=float(values["nms_threshold"]),
                        max_detections=int(values["max_detections"]),
                    ),
                    # Files from before models could have fewer heads do not name them.
                    tasks=_known_tasks(values.get("tasks", TASKS)),
                    # Likewise, before they had hashes.
                    params_sha256=_hash_or_none(values.get("params_sha256")),
                    data_sha256=_hash_or_none(values.get("data_sha256")),
                    # And before they knew an order of their states.
                    state_order=_order_of(values["cls_class_names"], values.get("state_order", ())),
                )
        except (KeyError, TypeError, ValueError) as error:
            raise PredictorError(f"{path}: its panvision metadata is damaged ({error!r}); export it again") from error
        raise PredictorError(
            f"{path}: panvision metadata of version {version!r}, but this panvision reads {METADATA_VERSION}; "
            "export it again or install the panvision that wrote it"
        )


def _known_tasks(names: Sequence[str]) -> tuple[str, ...]:
    """The tasks that a file names, in the order of TASKS; ValueError if there is none, or an unknown one."""
    tasks = tuple(task for task in TASKS if task in names)
    if not tasks or len(tasks) != len(names):
        raise ValueError(f"tasks {names!r}")
    return tasks


def _order_of(names: Sequence[str], order: Sequence[str]) -> tuple[str, ...]:
    """An order of all the names, or none; ValueError if it is of others."""
    if order and sorted(order) != sorted(names):
        raise ValueError(f"state_order {order!r}")
    return tuple(order)


def _hash_or_none(value: object) -> str | None:
    return None if value is None else str(value)


class Backend(Protocol):
    """One loaded model file."""

    info: ModelInfo

    def run(self, images: npt.NDArray[np.uint8]) -> RawOutputs:
        """Run pictures (N, S, S, 3) uint8 RGB, N ≥ 1, through the network."""
        ...
