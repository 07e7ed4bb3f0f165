"""A checkpoint on PyTorch; the only module of this room that imports it, and only when a checkpoint is loaded."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from panvision.decoding.decoder import RawOutputs, Thresholds
from panvision.inference.backend import ModelInfo, PredictorError
from panvision.inference.origin import params_hash
from panvision.inference.settings import DetectionSettings
from panvision.model.checkpoint import CheckpointError, load_checkpoint
from panvision.model.flat import FlatModel


class TorchBackend:
    """One checkpoint.

    Args:
        path: the file.
        device: PyTorch's name of a device; by default the GPU if there is one.

    Raises:
        PredictorError: not a checkpoint of panvision, or no such device.
    """

    def __init__(self, path: Path, device: str | None = None) -> None:
        try:
            self._device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
            # Reserves nothing, but fails here and clearly where the device is not there.
            torch.empty(0, device=self._device)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0]
            raise PredictorError(f"device {device!r} cannot be used: {reason}") from error
        try:
            model, metadata = load_checkpoint(path, self._device)
        except CheckpointError as error:
            raise PredictorError(str(error)) from error
        self._flat = FlatModel(model).eval()
        # Thresholds are no part of training, so a checkpoint carries none: these are the system's own.
        settings = DetectionSettings()
        self.info = ModelInfo(
            image_size=model.image_size,
            strides=tuple(model.settings.strides),
            det_class_names=tuple(model.det_classes),
            cls_class_names=tuple(model.cls_classes),
            thresholds=Thresholds(settings.score_threshold, settings.nms_threshold, settings.max_detections),
            tasks=model.tasks,
            # Not those of the data: a checkpoint does not know which they were.
            params_sha256=params_hash(metadata),
        )

    def run(self, images: npt.NDArray[np.uint8]) -> RawOutputs:
        """Run pictures (N, S, S, 3) uint8 RGB, N ≥ 1, through the network."""
        # On a GPU: full float32 and repeatable kernels, so that scores do not depend on where they were made.
        exact = torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)
        with torch.inference_mode(), exact:
            # A copy: PyTorch does not take read-only arrays.
            outputs = self._flat(torch.tensor(images, device=self._device))
        arrays = (output.cpu().numpy() for output in outputs)
        return dict(zip(self._flat.output_names, arrays, strict=True))
