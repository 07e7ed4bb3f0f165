"""The shipped model: a picture in, mask, boxes and state in that picture's pixels out."""

import stat
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from panvision.decoding.decoder import RawOutputs, Thresholds
from panvision.inference.backend import Backend, ModelInfo, PredictorError, checked, output_shapes
from panvision.inference.pictures import Picture, to_rgb
from panvision.inference.results import Result, decode
from panvision.photos.pixels import MAX_PIXELS, resize_rgb


class Predictor:
    """One loaded model file and the names and thresholds it answers with.

    Args:
        backend: runs the network.
        info: names and thresholds; by default the model file's own.
        max_pixels: larger pictures are refused.
    """

    def __init__(self, backend: Backend, info: ModelInfo | None = None, *, max_pixels: int = MAX_PIXELS) -> None:
        self.backend = backend
        self.info = info or backend.info
        self.max_pixels = max_pixels

    @classmethod
    def load(cls, path: str | Path, device: str | None = None) -> Self:
        """Load a checkpoint (.pth, .pt; needs PyTorch) or an exported model (.onnx; needs onnxruntime only).

        Args:
            path: the model file.
            device: `cpu`, `cuda`, `cuda:1` …; by default the GPU for a checkpoint if there is one, else the CPU.

        Raises:
            PredictorError: no such file, not a model of panvision, or damaged.
        """
        path = Path(path)
        if path.suffix.lower() not in (".pth", ".pt", ".onnx"):
            raise PredictorError(f"{path}: not a model file by its name; expected .pth, .pt or .onnx")
        _check_file(path)
        backend = _open_backend(path, device)
        try:
            checked(backend.info)
        except ValueError as error:
            raise PredictorError(f"{path}: not a model of panvision: {error}") from error
        return cls(backend)

    @property
    def image_size(self) -> int:
        """Side of the model's square input in pixels."""
        return self.info.image_size

    @property
    def tasks(self) -> tuple[str, ...]:
        """What the model answers, of segmentation, detection and classification in this order."""
        return self.info.tasks

    @property
    def det_class_names(self) -> list[str]:
        """What boxes are called, by class index."""
        return list(self.info.det_class_names)

    @property
    def cls_class_names(self) -> list[str]:
        """What states are called, by class index."""
        return list(self.info.cls_class_names)

    @property
    def score_threshold(self) -> float:
        """Boxes scoring lower are not reported."""
        return self.info.thresholds.score

    @property
    def nms_threshold(self) -> float:
        """Of two boxes of one class overlapping by more than this IoU, the lower-scored is not reported."""
        return self.info.thresholds.nms

    @property
    def max_detections(self) -> int:
        """Boxes reported per picture, best first."""
        return self.info.thresholds.max_detections

    def with_thresholds(
        self,
        score_threshold: float | None = None,
        nms_threshold: float | None = None,
        max_detections: int | None = None,
    ) -> "Predictor":
        """The same model with other thresholds; None keeps one as it is.

        Args:
            score_threshold: boxes scoring lower are not reported.
            nms_threshold: of two boxes of one class overlapping by more than this IoU, the lower-scored goes.
            max_detections: boxes reported per picture, best first.

        Raises:
            PredictorError: a threshold outside 0 to 1, or fewer than one detection.
        """
        new = Thresholds(
            score=self.score_threshold if score_threshold is None else score_threshold,
            nms=self.nms_threshold if nms_threshold is None else nms_threshold,
            max_detections=self.max_detections if max_detections is None else max_detections,
        )
        for name, value in (("score_threshold", new.score), ("nms_threshold", new.nms)):
            if not 0.0 <= value <= 1.0:
                raise PredictorError(f"{name} must lie in 0 to 1, found {value!r}")
        if new.max_detections < 1:
            raise PredictorError(f"max_detections must be at least 1, found {new.max_detections!r}")
        return self if new == self.info.thresholds else self._with(replace(self.info, thresholds=new))

    def with_names(self, det_class_names: Sequence[str], cls_class_names: Sequence[str]) -> "Predictor":
        """The same model calling its classes otherwise; as many names as it has."""
        return self._with(
            replace(self.info, det_class_names=tuple(det_class_names), cls_class_names=tuple(cls_class_names))
        )

    def with_max_pixels(self, max_pixels: int) -> "Predictor":
        """The same model with another limit to the size of pictures, width times height."""
        return self if max_pixels == self.max_pixels else Predictor(self.backend, self.info, max_pixels=max_pixels)

    def _with(self, info: ModelInfo) -> "Predictor":
        return Predictor(self.backend, info, max_pixels=self.max_pixels)

    def raw(self, images: npt.NDArray[np.uint8]) -> RawOutputs:
        """Run pictures that already have the model's size; nothing is decoded.

        Args:
            images: (N, S, S, 3) uint8 RGB, N ≥ 1.

        Raises:
            PredictorError: another shape or type, or a model file whose outputs do not fit its metadata.
        """
        size = self.image_size
        if images.dtype != np.uint8 or images.ndim != 4 or not len(images) or images.shape[1:] != (size, size, 3):
            raise PredictorError(f"expected (N, {size}, {size}, 3) uint8 pictures, found {images.shape} {images.dtype}")
        outputs = self.backend.run(images)
        expected = {name: (len(images), *shape) for name, shape in output_shapes(self.info).items()}
        shapes = {name: output.shape for name, output in outputs.items()}
        if shapes != expected:
            raise PredictorError(
                f"the model's outputs have shapes {shapes}, its metadata say {expected}; export it again"
            )
        return outputs

    def predict(
        self,
        image: Picture,
        score_threshold: float | None = None,
        nms_threshold: float | None = None,
        *,
        bgr: bool = False,
    ) -> Result:
        """Mask, boxes and state of one picture, in that picture's own pixels.

        Args:
            image: a path, a file's bytes, a Pillow image, or an array: `panvision.inference.pictures.to_rgb` lists
                what is taken.
            score_threshold: boxes scoring lower are not reported; by default the predictor's own.
            nms_threshold: likewise for overlapping boxes of one class.
            bgr: the array's channels are blue, green, red, as in a frame of OpenCV.

        Returns:
            ``{"segmentation": {"mask"}, "detection": {"boxes", "labels", "scores", "class_names"},``
            ``"classification": {"class_idx", "class_name", "probabilities"}}``, without the keys of tasks that the
            model was not trained for (`tasks`).

        Raises:
            ImageError: the picture cannot be read, or has no pixels.
            PredictorError: a threshold outside 0 to 1.
        """
        return self.predict_batch([image], score_threshold, nms_threshold, bgr=bgr)[0]

    def predict_batch(
        self,
        images: Sequence[Picture],
        score_threshold: float | None = None,
        nms_threshold: float | None = None,
        *,
        bgr: bool = False,
    ) -> list[Result]:
        """Several pictures of any sizes in one pass through the network; otherwise as `predict`."""
        configured = self.with_thresholds(score_threshold, nms_threshold)
        pictures = [to_rgb(image, bgr=bgr, max_pixels=self.max_pixels) for image in images]
        if not pictures:
            return []
        squares = np.stack([resize_rgb(picture, self.image_size) for picture in pictures])
        return configured.predict_squares(squares, [(picture.shape[1], picture.shape[0]) for picture in pictures])

    def predict_squares(self, squares: npt.NDArray[np.uint8], sizes: Sequence[tuple[int, int]]) -> list[Result]:
        """As `predict_batch`, of pictures that already have the model's size (`panvision.photos.pixels.resize_rgb`).

        Args:
            squares: (N, S, S, 3) uint8 RGB, N ≥ 1.
            sizes: width and height of each picture in its own pixels, in which the results are.

        Raises:
            PredictorError: as `raw`, or outputs that are no numbers, which would be decoded to anything.
        """
        outputs = self.raw(squares)
        if not all(np.isfinite(output).all() for output in outputs.values()):
            raise PredictorError("the model's outputs are not finite numbers: its weights are damaged; export it again")
        return [
            decode(outputs, row, self.info, width=width, height=height) for row, (width, height) in enumerate(sizes)
        ]


def _check_file(path: Path) -> None:
    """Refuse what cannot be read as a file; reading a pipe or a device may never end."""
    try:
        plain = stat.S_ISREG(path.stat().st_mode)
    except FileNotFoundError as error:
        raise PredictorError(
            f"{path}: no such model file; `dvc repro` or `dvc pull` makes models/best_model.pth"
        ) from error
    except OSError as error:
        raise PredictorError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise PredictorError(f"{str(path)!r}: not a file's name: {error}") from error
    if not plain:
        raise PredictorError(f"{path}: is a folder, a pipe or a device, not a model file")


def _open_backend(path: Path, device: str | None) -> Backend:
    """The backend for a file, its runtime imported only now: a device with one of them needs no other."""
    try:
        if path.suffix.lower() == ".onnx":
            from panvision.inference.onnx_backend import OnnxBackend

            return OnnxBackend(path, device)
        from panvision.inference.torch_backend import TorchBackend

        return TorchBackend(path, device)
    except ModuleNotFoundError as error:
        raise PredictorError(
            f"{path}: needs the package {error.name}, which is not installed; "
            "`pip install onnxruntime` for .onnx, `pip install panvision[train]` for checkpoints"
        ) from error
