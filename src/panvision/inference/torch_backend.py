"""A checkpoint on PyTorch: the only module of this room that imports it, when a checkpoint is loaded."""

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
        device: name of a PyTorch device; by default the GPU if there is one.

    Raises:
        PredictorError: the file is not a checkpoint of panvision, or the device does not exist.
    """

    def __init__(self, path: Path, device: str | None = None) -> None:
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
        # A checkpoint has no thresholds, because training does not use them: these are the defaults.
        settings = DetectionSettings()
        self.info = ModelInfo(
            image_size=model.image_size,
            strides=tuple(model.settings.strides),
            det_class_names=tuple(model.det_classes),
            cls_class_names=tuple(model.cls_classes),
            thresholds=Thresholds(settings.score_threshold, settings.nms_threshold, settings.max_detections),
            tasks=model.tasks,
            # Without a hash of the data, which a checkpoint does not know.
            params_sha256=params_hash(metadata),
        )

    def run(self, images: npt.NDArray[np.uint8]) -> RawOutputs:
        """Run images (N, S, S, 3) uint8 RGB, N ≥ 1, through the network."""
        # On a GPU: full float32 and deterministic kernels, so that scores do not depend on the machine.
        exact = torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)
        with torch.inference_mode(), exact:
            # A copy: PyTorch does not take read-only arrays.
            outputs = self._flat(torch.tensor(images, device=self._device))
        arrays = (output.cpu().numpy() for output in outputs)
        return dict(zip(self._flat.output_names, arrays, strict=True))
