"""Does the exported model answer as the checkpoint does? Both run the same packed test pictures.

What is compared, always as the largest absolute difference over all pictures:

- `mask_probability`: sigmoid of every mask logit;
- `box_score`: √(class probability · centerness) of every class at every point, by which decoding ranks boxes;
- `box_edge_px`: distances from a point to its box's edges in packed pixels, at the points whose boxes can be
  reported: those that score at least the reporting threshold in either model and, so that there is always something
  to compare, the `max_detections` best of each picture. Distances beyond the side of the square count as that side:
  such an edge lies outside the picture and is cut there;
- `state_probability`: softmax of the state logits.

Figures of tasks that the model has not are None.

`same_results` counts the pictures whose decoded answers agree: as many boxes, the same labels in the same order, the
same state. It is reported, not judged: within the limits above they can differ only where two boxes, two states or a
box and a threshold lie closer together than the limits, and there neither model is more right than the other.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from panvision.export.errors import ExportError
from panvision.export.pictures import Images
from panvision.export.settings import ExportSettings
from panvision.inference.backend import ModelInfo, RawOutputs
from panvision.inference.predictor import Predictor

FloatArray = npt.NDArray[np.float64]

# Pictures per forward pass: more than one, so that parity holds for batches too, and little memory.
_BATCH = 8


@dataclass(frozen=True)
class Parity:
    """Largest differences between two models; the module says of what.

    Attributes:
        images: pictures compared.
        mask_probability, box_score, state_probability: 0 to 1; None without the task.
        box_edge_px: pixels of the packed square; likewise.
        same_results: pictures whose decoded answers agree.
    """

    images: int
    mask_probability: float | None
    box_score: float | None
    box_edge_px: float | None
    state_probability: float | None
    same_results: int

    def check(self, settings: ExportSettings, checkpoint: str | Path) -> None:
        """Raise ExportError, with every figure and its limit, unless all figures keep their limits."""
        limits, found = _limits(settings), self._figures()
        # Written so that NaN keeps no limit.
        if all(value <= limits[name] for name, value in found.items()):
            return
        figures = ", ".join(f"{name} {value:.3g} (limit {limits[name]:g})" for name, value in found.items())
        raise ExportError(
            f"{checkpoint}: its ONNX export answers differently on {self.images} pictures: {figures}; try another "
            "export.opset, or raise export.max_probability_error or export.max_box_error if that is close enough"
        )

    def to_json(self, settings: ExportSettings) -> dict[str, Any]:
        """The metrics, each difference rounded up to a hundredth of its limit: float noise does not change them."""
        limits, found = _limits(settings), self._figures()
        figures = {name: _round_up(found[name], limits[name]) if name in found else None for name in limits}
        return {"images": self.images, **figures, "same_results": self.same_results, "passed": True}

    def _figures(self) -> dict[str, float]:
        """The differences that there are, by name."""
        every = {
            "mask_probability": self.mask_probability,
            "box_score": self.box_score,
            "box_edge_px": self.box_edge_px,
            "state_probability": self.state_probability,
        }
        return {name: value for name, value in every.items() if value is not None}


def compare(reference: Predictor, exported: Predictor, images: Images, *, checkpoint: str | Path) -> Parity:
    """Run both models over the pictures.

    Args:
        reference: the checkpoint, with the thresholds that ship.
        exported: the ONNX file.
        images: (N, S, S, 3) uint8 RGB, N ≥ 1.
        checkpoint: the checkpoint's name in messages.

    Raises:
        ExportError: the models describe themselves differently, or an output is NaN or infinite.
    """
    if exported.info != reference.info:
        raise ExportError(f"{checkpoint}: is {reference.info}, but its ONNX export says {exported.info}; export again")
    worst: dict[str, float] = {}
    same = 0
    for start in range(0, len(images), _BATCH):
        batch = images[start : start + _BATCH]
        expected, found = reference.raw(batch), exported.raw(batch)
        _require_finite(expected, f"{checkpoint}: the network gives", "training diverged, lower train.phase2.lr")
        _require_finite(found, f"{checkpoint}: only its ONNX export gives", "try another export.opset")
        for name, value in _differences(expected, found, reference.info).items():
            worst[name] = max(worst.get(name, 0.0), value)
        same += _count_same(expected, found, batch, reference.info)
    return Parity(
        len(images),
        worst.get("mask_probability"),
        worst.get("box_score"),
        worst.get("box_edge_px"),
        worst.get("state_probability"),
        same,
    )


def _differences(expected: RawOutputs, found: RawOutputs, info: ModelInfo) -> dict[str, float]:
    """Largest difference of each figure that the models' tasks have; both models' outputs are finite."""
    pairs: dict[str, tuple[FloatArray, FloatArray]] = {}
    if expected.mask_logits is not None and found.mask_logits is not None:
        pairs["mask_probability"] = _sigmoid(expected.mask_logits), _sigmoid(found.mask_logits)
    one, other = _boxes(expected, info), _boxes(found, info)
    if one is not None and other is not None:
        reportable = _reportable([one.scores, other.scores], info)  # (N, P)
        pairs["box_score"] = one.scores, other.scores
        pairs["box_edge_px"] = one.edges[reportable], other.edges[reportable]
    if expected.state_logits is not None and found.state_logits is not None:
        pairs["state_probability"] = _softmax(expected.state_logits), _softmax(found.state_logits)
    return {name: float(np.abs(first - second).max(initial=0.0)) for name, (first, second) in pairs.items()}


class _Boxes(NamedTuple):
    """What boxes are ranked by, (N, P, K), and distances to their edges in pixels, (N, P, 4)."""

    scores: FloatArray
    edges: FloatArray


def _boxes(outputs: RawOutputs, info: ModelInfo) -> _Boxes | None:
    """Scores and edges at every point; None without detection."""
    if outputs.class_logits is None or outputs.ltrb is None or outputs.centerness is None:
        return None
    scores = np.sqrt(_sigmoid(outputs.class_logits) * _sigmoid(outputs.centerness)[:, :, None])
    # (N, P, 4) pixels, level after level
    places = [(info.image_size // stride) ** 2 for stride in info.strides]
    strides = np.repeat(np.array(info.strides, np.float64), places)[:, None]
    return _Boxes(scores, np.minimum(outputs.ltrb * strides, info.image_size))


def _reportable(scores: Sequence[FloatArray], info: ModelInfo) -> npt.NDArray[np.bool_]:
    """Points (N, P) whose boxes are compared, from both models' scores (N, P, K), the checkpoint's first."""
    best = [score.max(axis=2, initial=0.0) for score in scores]  # (N, P) each
    chosen = np.maximum(best[0], best[1]) >= info.thresholds.score
    ranked = np.argsort(-best[0], axis=1, kind="stable")[:, : info.thresholds.max_detections]
    np.put_along_axis(chosen, ranked, True, axis=1)
    return chosen


def _count_same(expected: RawOutputs, found: RawOutputs, images: Images, info: ModelInfo) -> int:
    """Pictures with as many boxes, the same labels and the same state in both models' decoded answers."""
    answers = [Predictor(_Played(info, outputs)).predict_batch(list(images)) for outputs in (expected, found)]
    return sum(
        ("detection" not in one or one["detection"]["labels"] == other["detection"]["labels"])
        and ("classification" not in one or one["classification"]["class_idx"] == other["classification"]["class_idx"])
        for one, other in zip(*answers, strict=True)
    )


@dataclass
class _Played:
    """A backend that gives outputs computed before: decoding must not run the networks again."""

    info: ModelInfo
    outputs: RawOutputs

    def run(self, images: Images) -> RawOutputs:
        """The outputs, whatever the pictures."""
        return self.outputs


def _require_finite(outputs: RawOutputs, what: str, remedy: str) -> None:
    given = {name: values for name, values in outputs._asdict().items() if values is not None}
    broken = [name for name, values in given.items() if not np.isfinite(values).all()]
    if broken:
        raise ExportError(f"{what} NaN or infinity in {', '.join(broken)}; {remedy}")


def _sigmoid(logits: npt.NDArray[np.float32]) -> FloatArray:
    # float64 throughout: what is measured are the models' differences, not those of measuring.
    return 0.5 * (1.0 + np.tanh(0.5 * logits.astype(np.float64)))


def _softmax(logits: npt.NDArray[np.float32]) -> FloatArray:
    values = logits.astype(np.float64)
    powers = np.exp(values - values.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def _limits(settings: ExportSettings) -> dict[str, float]:
    return {
        "mask_probability": settings.max_probability_error,
        "box_score": settings.max_probability_error,
        "box_edge_px": settings.max_box_error,
        "state_probability": settings.max_probability_error,
    }


def _round_up(value: float, limit: float) -> float:
    steps = math.ceil(100.0 * (value / limit))
    return float(f"{steps * limit / 100.0:.6g}")
