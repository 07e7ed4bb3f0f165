"""A checkpoint on PyTorch. Of this room, only this module and `layer_cam` import it, when a checkpoint is loaded."""

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from panvision.core.order import find_order
from panvision.decoding.decoder import FloatArray, RawOutputs, Thresholds
from panvision.inference.backend import ModelInfo, PredictorError, cost_matrix, read_limits
from panvision.inference.explanation import Target
from panvision.inference.layer_cam import layer_cam
from panvision.inference.origin import params_hash
from panvision.inference.settings import DEFAULT_SCORE, DecisionSettings, DetectionSettings
from panvision.model.checkpoint import CheckpointError, load_checkpoint
from panvision.model.flat import FlatModel
from panvision.model.multitask import MultiTaskModel

# PyTorch's threads do not survive a fork: a child would wait for them for ever. A spawned process imports this module.
_PROCESS = os.getpid()
# Held while a network runs with other flags than the rest of the process.
_FLAGS = threading.Lock()


class TorchBackend:
    """One checkpoint.

    Args:
        path: the file.
        device: name of a PyTorch device; by default the GPU if there is one.

    Raises:
        PredictorError: the file is not a checkpoint of panvision, the device does not exist, or this process was forked
            from one that has loaded a checkpoint.
    """

    def __init__(self, path: Path, device: str | None = None) -> None:
        _check_process()
        try:
            self._device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
            # Allocates nothing, but fails here if the device does not exist.
            torch.empty(0, device=self._device)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0]
            raise PredictorError(f"device {device!r} cannot be used: {reason}") from error
        try:
            model, metadata = load_checkpoint(path, self._device)
        except CheckpointError as error:
            raise PredictorError(str(error)) from error
        self._flat = FlatModel(model).eval()
        try:
            self.info = _describe(model, metadata)
        except (ValueError, TypeError, AttributeError) as error:
            raise PredictorError(f"{path}: its metadata are damaged ({error}); train or export it again") from error

    def run(self, images: npt.NDArray[np.uint8]) -> RawOutputs:
        """Run images (N, S, S, 3) uint8 RGB, N ≥ 1, through the network.

        Raises:
            PredictorError: this process was forked from the one that loaded the checkpoint.
        """
        _check_process()
        with torch.inference_mode(), _exact():
            # A copy: PyTorch does not take read-only arrays.
            outputs = self._flat(torch.tensor(images, device=self._device))
        arrays = (output.cpu().numpy() for output in outputs)
        return dict(zip(self._flat.output_names, arrays, strict=True))

    def explain(self, images: npt.NDArray[np.uint8], targets: Sequence[Target]) -> list[FloatArray]:
        """Return an activation map (h, w) of each image (N, S, S, 3) for its target, as `layer_cam` does.

        Raises:
            PredictorError: this process was forked from the one that loaded the checkpoint.
        """
        _check_process()
        with _exact():
            return layer_cam(self._flat.model, torch.tensor(images, device=self._device), targets)


@contextmanager
def _exact() -> Iterator[None]:
    """Use full float32 and deterministic kernels on a GPU, so that scores do not depend on the machine.

    The flags are those of the process: of two threads that leave in the order in which they came, the second would
    restore what the first had set.
    """
    with _FLAGS, torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        yield


def _check_process() -> None:
    if os.getpid() != _PROCESS:
        raise PredictorError(
            "a checkpoint cannot be used in a process forked from one that has loaded a checkpoint; start the process "
            'with `multiprocessing.get_context("spawn")` (gunicorn: without --preload), or use the ONNX model'
        )


def _describe(model: MultiTaskModel, metadata: Mapping[str, Any]) -> ModelInfo:
    """Return the description of a checkpoint.

    Training reads neither thresholds, costs nor an order of the class labels. Export writes them into the shipped
    checkpoint; without them the thresholds are the defaults.
    """
    detection = DetectionSettings.parse(metadata.get("detection") or {}, prefix="detection")
    decision = DecisionSettings.parse(metadata.get("decision") or {}, prefix="decision")
    return ModelInfo(
        image_size=model.image_size,
        strides=tuple(model.settings.strides),
        det_class_names=tuple(model.det_classes),
        cls_class_names=tuple(model.cls_classes),
        thresholds=Thresholds(_scores(detection, model.det_classes), detection.nms_threshold, detection.max_detections),
        temperature=float((metadata.get("calibration") or {}).get("temperature", 1.0)),
        tasks=model.tasks,
        params_sha256=params_hash(metadata),
        data_sha256=metadata.get("data_sha256"),
        state_order=find_order((metadata.get("classification") or {}).get("order"), model.cls_classes) or (),
        training_images=metadata.get("training_images"),
        costs=cost_matrix(decision.costs.confusions, model.cls_classes),
        limits=None if model.distance is None else read_limits(metadata.get("answers") or {}),
        features=0 if model.distance is None else model.distance.directions,
    )


def _scores(detection: DetectionSettings, names: Sequence[str]) -> float | tuple[float, ...]:
    """Return score thresholds as `Thresholds` has them."""
    score = detection.score_threshold
    if not isinstance(score, dict):
        return DEFAULT_SCORE if score == "auto" else score
    if set(score) != set(names):
        raise ValueError(f"detection.score_threshold does not name each of {', '.join(names)}")
    return tuple(score[name] for name in names)
