"""The shipped model: image in; mask, boxes and state in the image's own pixels out."""

import stat
from collections.abc import Mapping, Sequence
from dataclasses import replace
from numbers import Integral, Real
from pathlib import Path
from typing import Self, get_args

import numpy as np
import numpy.typing as npt

from panvision.decoding.decoder import FloatArray, RawOutputs, Thresholds
from panvision.inference.backend import (
    Backend,
    Explainer,
    ModelInfo,
    Precision,
    PredictorError,
    Runtime,
    ScoreThreshold,
    checked,
    cost_matrix,
    output_shapes,
)
from panvision.inference.explanation import Explanation, Target, enlarged, targets_of
from panvision.inference.images import AnyImage, to_rgb
from panvision.inference.results import Result, decode
from panvision.photos.pixels import MAX_PIXELS, resize_rgb


class Predictor:
    """One loaded model file with class names and thresholds.

    Args:
        backend: runs the network.
        info: names and thresholds; by default the model file's own.
        max_pixels: larger images are refused.
    """

    def __init__(self, backend: Backend, info: ModelInfo | None = None, *, max_pixels: int = MAX_PIXELS) -> None:
        self.backend = backend
        self.info = info or backend.info
        self.max_pixels = max_pixels

    @classmethod
    def load(
        cls,
        path: str | Path,
        device: str | None = None,
        *,
        runtime: Runtime | None = None,
        precision: Precision | None = None,
        threads: int = 0,
    ) -> Self:
        """Load a checkpoint (.pth, .pt; needs PyTorch) or an exported model (.onnx; needs its runtime only).

        Args:
            path: the model file.
            device: `cpu`, `cuda`, `cuda:1` …; by default the GPU for a checkpoint if there is one, else the CPU.
            runtime: of an exported model; by default `onnxruntime`.
            precision: numbers that an exported model is computed with; by default those of the file.
            threads: CPU threads of an exported model; 0: the runtime's default.

        Raises:
            PredictorError: the file is missing, damaged, or not a model of panvision; or device, runtime or precision
                cannot be used with it.
        """
        path = Path(path)
        check_file(path)
        backend = _open_backend(path, device, runtime, precision=precision, threads=threads)
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
        """Tasks of the model, in the order of TASKS."""
        return self.info.tasks

    @property
    def det_class_names(self) -> list[str]:
        """Names of the box classes, by class index."""
        return list(self.info.det_class_names)

    @property
    def cls_class_names(self) -> list[str]:
        """Names of the class labels, by class index."""
        return list(self.info.cls_class_names)

    @property
    def score_threshold(self) -> float | dict[str, float]:
        """Score below which boxes are not reported, one number or one for each class by its name."""
        return self.info.score_threshold

    @property
    def nms_threshold(self) -> float:
        """Largest IoU of two reported boxes of one class; above it, the box with the lower score is removed."""
        return self.info.thresholds.nms

    @property
    def max_detections(self) -> int:
        """Boxes reported per image, best first."""
        return self.info.thresholds.max_detections

    def with_thresholds(
        self,
        score_threshold: ScoreThreshold | None = None,
        nms_threshold: float | None = None,
        max_detections: int | None = None,
    ) -> "Predictor":
        """Return the same model with other thresholds; None keeps a threshold.

        Args:
            score_threshold: boxes with a lower score are not reported: a number, or numbers by class, where a class
                that is not named keeps its threshold. `auto` is the model's own, and so the same as None.
            nms_threshold: of two boxes of one class with a larger IoU, the one with the lower score is dropped.
            max_detections: boxes reported per image, best first.

        Raises:
            PredictorError: a threshold is not a number from 0 to 1 or is of an unknown class, or max_detections is not
                a whole number of at least 1.
        """
        new = Thresholds(
            score=self._scores(score_threshold),
            nms=self.nms_threshold if nms_threshold is None else nms_threshold,
            max_detections=self.max_detections if max_detections is None else max_detections,
        )
        limits = {"nms_threshold": new.nms}
        if isinstance(new.score, tuple):
            scores = zip(self.det_class_names, new.score, strict=True)
            limits |= {f"score_threshold of {name}": score for name, score in scores}
        else:
            limits["score_threshold"] = new.score
        for name, value in limits.items():
            if not isinstance(value, Real) or isinstance(value, bool) or not 0.0 <= value <= 1.0:
                raise PredictorError(f"{name} must be 0 to 1, found {value!r}")
        count = new.max_detections
        if not isinstance(count, Integral) or isinstance(count, bool) or count < 1:
            raise PredictorError(f"max_detections must be at least 1, found {new.max_detections!r}")
        return self if new == self.info.thresholds else self._with(replace(self.info, thresholds=new))

    def _scores(self, wanted: ScoreThreshold | None) -> float | tuple[float, ...]:
        """Return score thresholds as `Thresholds` has them."""
        own = self.info.thresholds
        if wanted is None or (isinstance(wanted, str) and wanted == "auto"):
            return own.score
        if not isinstance(wanted, Mapping):
            return wanted
        names = self.info.det_class_names
        if unknown := [name for name in wanted if name not in names]:
            known = ", ".join(names) or "none"
            raise PredictorError(f"score_threshold: {unknown[0]!r} is not a box class of the model; expected {known}")
        scores = tuple(wanted.get(name, old) for name, old in zip(names, own.by_class(len(names)), strict=True))
        return scores[0] if scores and scores.count(scores[0]) == len(scores) else scores

    def with_costs(self, confusions: Mapping[str, Mapping[str, float]], *, keep: bool = True) -> "Predictor":
        """Return the same model with other costs of confusing class labels.

        Args:
            confusions: true label → predicted one → cost, as `decision.costs.confusions` in params.yaml.
            keep: True if the model keeps its own where `confusions` is empty; else it then has none.

        Raises:
            PredictorError: an unknown label is named.
        """
        if "classification" not in self.tasks:
            return self
        try:
            matrix = cost_matrix(confusions, self.cls_class_names)
        except ValueError as error:
            raise PredictorError(str(error)) from error
        return self._with(replace(self.info, costs=matrix)) if matrix or not keep else self

    def with_names(self, det_class_names: Sequence[str], cls_class_names: Sequence[str]) -> "Predictor":
        """Return the same model with other class names, equally many."""
        return self._with(
            replace(self.info, det_class_names=tuple(det_class_names), cls_class_names=tuple(cls_class_names))
        )

    def with_max_pixels(self, max_pixels: int) -> "Predictor":
        """Return the same model with another largest image size, width times height."""
        return self if max_pixels == self.max_pixels else Predictor(self.backend, self.info, max_pixels=max_pixels)

    def _with(self, info: ModelInfo) -> "Predictor":
        return Predictor(self.backend, info, max_pixels=self.max_pixels)

    def raw(self, images: npt.NDArray[np.uint8]) -> RawOutputs:
        """Run images that already have the model's size, without decoding.

        Args:
            images: (N, S, S, 3) uint8 RGB, N ≥ 1.

        Raises:
            PredictorError: the images have another shape or type, or the outputs do not fit the model's metadata.
        """
        size = self.image_size
        if images.dtype != np.uint8 or images.ndim != 4 or not len(images) or images.shape[1:] != (size, size, 3):
            raise PredictorError(f"expected (N, {size}, {size}, 3) uint8 images, found {images.shape} {images.dtype}")
        outputs = self.backend.run(images)
        expected = {name: (len(images), *shape) for name, shape in output_shapes(self.info).items()}
        shapes = {name: output.shape for name, output in outputs.items()}
        if shapes != expected:
            raise PredictorError(
                f"the model's outputs have shapes {shapes}, its metadata say {expected}; export it again"
            )
        return outputs

    def finite(self, images: npt.NDArray[np.uint8]) -> RawOutputs:
        """Run images like `raw`.

        Raises:
            PredictorError: as `raw`, or the outputs are not finite.
        """
        outputs = self.raw(images)
        if not all(np.isfinite(output).all() for output in outputs.values()):
            raise PredictorError("the model's outputs are not finite numbers: its weights are damaged; export it again")
        return outputs

    def predict(
        self,
        image: AnyImage,
        score_threshold: ScoreThreshold | None = None,
        nms_threshold: float | None = None,
        *,
        bgr: bool = False,
        explain: bool = False,
    ) -> Result:
        """Return mask, boxes and state of one image, in its own pixels.

        Args:
            image: a path, the bytes of a file, a Pillow image, or an array; `panvision.inference.images.to_rgb` has
                the details.
            score_threshold: boxes with a lower score are not reported, as in `with_thresholds`; by default the
                predictor's own.
            nms_threshold: of two boxes of one class with a larger IoU, the one with the lower score is dropped; by
                default the predictor's own.
            bgr: True if the channels of the array are blue, green, red, like in a frame of OpenCV.
            explain: add `explanation`, the activation maps of `panvision.inference.explanation.Explanation`.

        Returns:
            ``{"segmentation": {"mask"}, "detection": {"boxes", "labels", "scores", "class_names"},``
            ``"classification": {"class_idx", "class_name", "probabilities"}}``, with the keys of the model's
            `tasks`.

        Raises:
            ImageError: the image cannot be read, or has no pixels.
            PredictorError: a threshold is not a number from 0 to 1, or is of an unknown class; or `explain`, and the
                model cannot be explained.
        """
        if not explain:
            return self.predict_batch([image], score_threshold, nms_threshold, bgr=bgr)[0]
        self.check_explains()
        configured = self.with_thresholds(score_threshold, nms_threshold)
        pixels = to_rgb(image, bgr=bgr, max_pixels=self.max_pixels)
        square, size = resize_rgb(pixels, self.image_size), (pixels.shape[1], pixels.shape[0])
        result = configured.predict_squares(square[None], [size])[0]
        result["explanation"] = enlarged(configured.explain(square, result, size), *size)
        return result

    def predict_batch(
        self,
        images: Sequence[AnyImage],
        score_threshold: ScoreThreshold | None = None,
        nms_threshold: float | None = None,
        *,
        bgr: bool = False,
    ) -> list[Result]:
        """Predict several images of any sizes in one pass through the network; otherwise as `predict`."""
        configured = self.with_thresholds(score_threshold, nms_threshold)
        arrays = [to_rgb(image, bgr=bgr, max_pixels=self.max_pixels) for image in images]
        if not arrays:
            return []
        squares = np.stack([resize_rgb(array, self.image_size) for array in arrays])
        return configured.predict_squares(squares, [(array.shape[1], array.shape[0]) for array in arrays])

    def predict_squares(self, squares: npt.NDArray[np.uint8], sizes: Sequence[tuple[int, int]]) -> list[Result]:
        """Predict images that already have the model's size (`panvision.photos.pixels.resize_rgb`).

        Args:
            squares: (N, S, S, 3) uint8 RGB, N ≥ 1.
            sizes: original width and height of each image, in whose pixels the results are.

        Raises:
            PredictorError: as `raw`, or the outputs are not finite.
        """
        outputs = self.finite(squares)
        return [
            decode(outputs, row, self.info, width=width, height=height) for row, (width, height) in enumerate(sizes)
        ]

    @property
    def explains(self) -> bool:
        """True for a checkpoint; an ONNX file has no gradients."""
        return isinstance(self.backend, Explainer)

    def check_explains(self) -> None:
        """Check that `explain` is possible.

        Raises:
            PredictorError: the model is an ONNX file, or has neither detection nor classification.
        """
        if not self.explains:
            raise PredictorError(
                "explain: an ONNX file has no gradients; use the checkpoint that it was exported from, such as "
                "models/panvision.pth"
            )
        if not {"detection", "classification"} & set(self.tasks):
            raise PredictorError("explain: the model predicts masks only; use one with detection or classification")

    def explain(self, square: npt.NDArray[np.uint8], result: Result, size: tuple[int, int]) -> Explanation:
        """Explain the class label and the best boxes of a result, by the cells of the network's feature maps.

        Args:
            square: (S, S, 3) uint8 RGB, the image at the model's size.
            result: of this image.
            size: width and height of the image, in whose pixels the result is.

        Returns:
            Maps (h, w); `panvision.inference.explanation.enlarged` scales them to the image.

        Raises:
            PredictorError: as `check_explains`.
        """
        targets = targets_of(result, (self.image_size / size[0], self.image_size / size[1]))
        maps = self.activations(np.repeat(square[None], len(targets), axis=0), targets)
        explanation: Explanation = {}
        if "classification" in result:
            explanation["classification"] = maps.pop(0)
        if "detection" in result:
            explanation["detection"] = maps
        return explanation

    def activations(self, squares: npt.NDArray[np.uint8], targets: Sequence[Target]) -> list[FloatArray]:
        """Return an activation map (h, w), float32 from 0 to 1, of each image (N, S, S, 3) uint8 RGB for its target.

        Raises:
            PredictorError: as `check_explains`.
        """
        self.check_explains()
        return self.backend.explain(squares, targets) if targets and isinstance(self.backend, Explainer) else []


def check_file(path: Path) -> None:
    """Refuse what is not a model file, without reading it: a pipe or a device may never end.

    Raises:
        PredictorError: it has another suffix, is missing, or is not a regular file.
    """
    if path.suffix.lower() not in (".pth", ".pt", ".onnx"):
        raise PredictorError(f"{path}: not a model file; expected .pth, .pt or .onnx")
    try:
        plain = stat.S_ISREG(path.stat().st_mode)
    except FileNotFoundError as error:
        raise PredictorError(
            f"{path}: no such model file; `dvc repro` or `dvc pull` creates models/best_model.pth"
        ) from error
    except OSError as error:
        raise PredictorError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise PredictorError(f"{str(path)!r}: not a file name: {error}") from error
    if not plain:
        raise PredictorError(f"{path}: is a folder, a pipe or a device, not a model file")


def _open_backend(
    path: Path, device: str | None, runtime: Runtime | None, *, precision: Precision | None, threads: int
) -> Backend:
    """Open the backend of a file. Its runtime is imported here, so that a device needs only one of them."""
    for name, value, known in (("runtime", runtime, get_args(Runtime)), ("precision", precision, get_args(Precision))):
        if value is not None and value not in known:
            raise PredictorError(f"{name} must be one of {', '.join(known)}, found {value!r}")
    try:
        if path.suffix.lower() != ".onnx":
            if runtime is not None or precision not in (None, "float32"):
                raise PredictorError(
                    f"{path}: a checkpoint runs on PyTorch in float32; for another runtime or precision name an "
                    "exported model (.onnx)"
                )
            from panvision.inference.torch_backend import TorchBackend

            return TorchBackend(path, device)
        if runtime == "openvino":
            from panvision.inference.openvino_backend import OpenVinoBackend

            return OpenVinoBackend(path, device, precision=precision, threads=threads)
        from panvision.inference.onnx_backend import OnnxBackend

        return OnnxBackend(path, device, precision=precision, threads=threads)
    except ModuleNotFoundError as error:
        raise PredictorError(
            f"{path}: needs the package {error.name}, which is not installed; `pip install onnxruntime` for .onnx, "
            "in panvision's repository `pip install '.[openvino]'` for the runtime openvino and "
            "`pip install '.[train]'` for checkpoints"
        ) from error
