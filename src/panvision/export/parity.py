"""Parity: the exported model answers like the checkpoint. Both run the same packed test images.

Each metric is the largest absolute difference over all images:

- `mask_probability`: sigmoid of every mask logit;
- `box_score`: √(class probability · centerness) of every class at every location, the score that ranks boxes;
- `box_edge_px`: distances from a location to the edges of its box in packed pixels, at the locations whose boxes can
  be reported: those with at least the reporting threshold in either model and, so that there is always something to
  compare, the `max_detections` best of each image. Distances beyond the side of the square count as that side: such
  an edge is outside the image and is clipped;
- `state_probability`: softmax of the class logits, divided by the model's temperature;
- `state_distance`: distance from the training images, as a fraction of the largest accepted one, if the model has it;
- `state_features`: each feature that the distance is made of, in the same unit;
- the raw outputs themselves for a task without a row in `COMPARED`.

Metrics of tasks that the model does not have are None.

`same_results` counts the images whose decoded results agree in every name, label and count. It is reported, not
checked: within the limits above results differ only where two boxes, two class labels or a box and a threshold are
closer together than the limits, and there neither model is more right than the other.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from panvision.core.tasks import TASKS, Task
from panvision.decoding.classification import softmax
from panvision.decoding.decoder import RawOutputs
from panvision.export.errors import ExportError
from panvision.export.images import Images
from panvision.export.settings import ExportSettings
from panvision.inference.backend import ModelInfo
from panvision.inference.predictor import Predictor

FloatArray = npt.NDArray[np.float64]
Pairs = dict[str, tuple[FloatArray, FloatArray]]

# Images per forward pass: more than one, so that parity holds for batches too, and little memory.
_BATCH = 8


class Compared(NamedTuple):
    """Metrics of one task.

    Attributes:
        limits: metric → field of `ExportSettings` with its limit.
        pairs: (checkpoint's raw outputs, export's raw outputs, model) → metric → both models' values.
    """

    limits: dict[str, str]
    pairs: Callable[[RawOutputs, RawOutputs, ModelInfo], Pairs]


def _masks(expected: RawOutputs, found: RawOutputs, info: ModelInfo) -> Pairs:
    return {"mask_probability": (_sigmoid(expected["mask_logits"]), _sigmoid(found["mask_logits"]))}


def _classes(expected: RawOutputs, found: RawOutputs, info: ModelInfo) -> Pairs:
    one, other = (softmax(each["state_logits"] / np.float64(info.temperature)) for each in (expected, found))
    pairs = {"state_probability": (one, other)}
    if info.limits is not None:
        for name in ("distance", "features") if info.features else ("distance",):
            one, other = (each[f"cls_{name}"].astype(np.float64) / info.limits.distance for each in (expected, found))
            pairs[f"state_{name}"] = (one, other)
    return pairs


def _boxes(expected: RawOutputs, found: RawOutputs, info: ModelInfo) -> Pairs:
    outputs = (expected, found)
    one, other = (
        np.sqrt(_sigmoid(each["class_logits"]) * _sigmoid(each["centerness"])[:, :, None])  # (N, P, K)
        for each in outputs
    )
    best = one.max(axis=2, initial=0.0)  # (N, P)
    chosen: npt.NDArray[np.bool_] = np.any(np.maximum(one, other) >= np.array(info.thresholds.score), axis=2)  # (N, P)
    ranked = np.argsort(-best, axis=1, kind="stable")[:, : info.thresholds.max_detections]
    np.put_along_axis(chosen, ranked, True, axis=1)
    locations = [(info.image_size // stride) ** 2 for stride in info.strides]
    strides = np.repeat(np.array(info.strides, np.float64), locations)[:, None]  # (P, 1)
    edges = [np.minimum(each["ltrb"] * strides, info.image_size)[chosen] for each in outputs]  # pixels
    return {"box_score": (one, other), "box_edge_px": (edges[0], edges[1])}


COMPARED: dict[Task, Compared] = {
    "segmentation": Compared({"mask_probability": "max_probability_error"}, _masks),
    "detection": Compared({"box_score": "max_probability_error", "box_edge_px": "max_box_error"}, _boxes),
    "classification": Compared(
        dict.fromkeys(("state_probability", "state_distance", "state_features"), "max_probability_error"), _classes
    ),
}


@dataclass(frozen=True)
class Parity:
    """Largest differences between two models.

    Attributes:
        images: number of images compared.
        worst: metric → largest difference, of the model's tasks.
        same_results: images with equal results.
    """

    images: int
    worst: Mapping[str, float]
    same_results: int

    def check(self, settings: ExportSettings, checkpoint: str | Path) -> None:
        """Raise ExportError, with every metric and its limit, unless all metrics are within their limits."""
        limits = _limits(settings)
        # Written so that NaN is never within a limit.
        if all(value <= limits[name] for name, value in self.worst.items()):
            return
        values = ", ".join(f"{name} {value:.3g} (limit {limits[name]:g})" for name, value in self.worst.items())
        raise ExportError(
            f"{checkpoint}: its ONNX export answers differently on {self.images} images: {values}; try another "
            "export.opset, or raise export.max_probability_error or export.max_box_error if that is close enough"
        )

    def to_json(self, settings: ExportSettings) -> dict[str, Any]:
        """Return the metrics, each rounded up to a hundredth of its limit so that float noise does not change it."""
        limits, worst = _limits(settings), self.worst
        values = {name: _round_up(worst[name], limit) if name in worst else None for name, limit in limits.items()}
        return {"images": self.images, **values, "same_results": self.same_results, "passed": True}


def compare(reference: Predictor, exported: Predictor, images: Images, *, checkpoint: str | Path) -> Parity:
    """Run both models on the images.

    Args:
        reference: the checkpoint, with the thresholds that are shipped.
        exported: the ONNX file.
        images: (N, S, S, 3) uint8 RGB, N ≥ 1.
        checkpoint: name of the checkpoint in messages.

    Raises:
        ExportError: the models describe themselves differently, or an output is NaN or infinite.
    """
    info = reference.info
    if exported.info != info:
        raise ExportError(f"{checkpoint}: is {info}, but its ONNX export says {exported.info}; export again")
    worst: dict[str, float] = {}
    same = 0
    for start in range(0, len(images), _BATCH):
        batch = images[start : start + _BATCH]
        expected, found = reference.raw(batch), exported.raw(batch)
        _require_finite(expected, f"{checkpoint}: the network gives", "training diverged, lower train.phase2.lr")
        _require_finite(found, f"{checkpoint}: only its ONNX export gives", "try another export.opset")
        for task in info.tasks:
            for name, (one, other) in _compared(task).pairs(expected, found, info).items():
                worst[name] = max(worst.get(name, 0.0), float(np.abs(one - other).max(initial=0.0)))
        same += _count_same(expected, found, batch, info)
    return Parity(len(images), worst, same)


def _compared(task: Task) -> Compared:
    """Return the row of a task, or by default one that compares its raw outputs."""

    def raw(expected: RawOutputs, found: RawOutputs, info: ModelInfo) -> Pairs:
        return {name: (expected[name].astype(np.float64), found[name].astype(np.float64)) for name in outputs}

    outputs = TASKS[task].outputs
    return COMPARED.get(task) or Compared(dict.fromkeys(outputs, "max_probability_error"), raw)


def _limits(settings: ExportSettings) -> dict[str, float]:
    """Limit of each metric, in the order of the tasks."""
    return {name: getattr(settings, field) for task in TASKS for name, field in _compared(task).limits.items()}


def _count_same(expected: RawOutputs, found: RawOutputs, images: Images, info: ModelInfo) -> int:
    """Count the images on which both models' results have the same names, labels and counts."""
    results = [Predictor(_Replayed(info, outputs)).predict_batch(list(images)) for outputs in (expected, found)]
    return sum(_discrete(one) == _discrete(other) for one, other in zip(*results, strict=True))


def _discrete(value: Any) -> Any:
    """Keep the parts of a result that two models either share or not: no floats, no pixels."""
    if isinstance(value, Mapping):
        return {name: _discrete(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_discrete(part) for part in value]
    return value if isinstance(value, int | str) else None


@dataclass
class _Replayed:
    """A backend that returns stored outputs, so that decoding does not run the networks again."""

    info: ModelInfo
    outputs: RawOutputs

    def run(self, images: Images) -> RawOutputs:
        """Return the outputs."""
        return self.outputs


def _require_finite(outputs: RawOutputs, what: str, remedy: str) -> None:
    broken = [name for name, values in outputs.items() if not np.isfinite(values).all()]
    if broken:
        raise ExportError(f"{what} NaN or infinity in {', '.join(broken)}; {remedy}")


def _sigmoid(logits: npt.NDArray[np.float32]) -> FloatArray:
    # float64, because the differences to be measured are those of the models, not of this computation.
    return 0.5 * (1.0 + np.tanh(0.5 * logits.astype(np.float64)))


def _round_up(value: float, limit: float) -> float:
    steps = math.ceil(100.0 * (value / limit))
    return float(f"{steps * limit / 100.0:.6g}")
