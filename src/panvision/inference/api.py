"""The public functions: load a model, infer one image, infer a folder."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, TypedDict

from panvision.inference.backend import Precision, PredictorError, Runtime, ScoreThreshold
from panvision.inference.directory import earlier_files, predict_directory
from panvision.inference.images import AnyImage
from panvision.inference.predictor import Predictor
from panvision.inference.results import Result

logger = logging.getLogger(__name__)


class _Detection(Protocol):
    @property
    def score_threshold(self) -> ScoreThreshold: ...
    @property
    def nms_threshold(self) -> float: ...
    @property
    def max_detections(self) -> int: ...


class ConfigLike(Protocol):
    """The part of a `panvision.config.Config` that inference reads."""

    @property
    def detection(self) -> _Detection:
        """The thresholds."""
        ...


class CheckpointInfo(TypedDict):
    """Description of a model file: its tasks, and counts and names of its classes (none for a task that it lacks).

    The hashes are those of `panvision.inference.origin`; None if the file does not have them.
    """

    tasks: list[str]
    num_det_classes: int
    num_cls_classes: int
    det_class_names: list[str]
    cls_idx_to_class: dict[int, str]
    params_sha256: str | None
    data_sha256: str | None


def load_model(
    checkpoint_path: str | Path,
    config: ConfigLike | None = None,
    device: str | None = None,
    *,
    runtime: Runtime | None = None,
    precision: Precision | None = None,
) -> tuple[Predictor, CheckpointInfo]:
    """Load a checkpoint (.pth) or an exported model (.onnx).

    Args:
        checkpoint_path: the file.
        config: its `detection` thresholds replace those of the file, except the score threshold `auto`; so do its
            `decision.costs.confusions`, if there are any. The network and the image size always come from the file.
        device: for example `config.DEVICE`; by default the GPU for a checkpoint if there is one, else the CPU. With an
            exported model a GPU needs onnxruntime-gpu.
        runtime: of an exported model, `onnxruntime` (the default) or `openvino`.
        precision: `float32`, `bfloat16` or `int8`; by default that of the file.

    Returns:
        The model, and its description.

    Raises:
        PredictorError: the file is missing, damaged, or not a model of panvision; or device, runtime or precision
            cannot be used with it.
    """
    opened = Predictor.load(checkpoint_path, device, runtime=runtime, precision=precision)
    model = _configured(opened, None, config)
    return model, {
        "tasks": list(model.tasks),
        "num_det_classes": len(model.det_class_names),
        "num_cls_classes": len(model.cls_class_names),
        "det_class_names": model.det_class_names,
        "cls_idx_to_class": dict(enumerate(model.cls_class_names)),
        "params_sha256": model.info.params_sha256,
        "data_sha256": model.info.data_sha256,
    }


def infer_image(  # noqa: PLR0913 -- the arguments that users of the system know
    model: Predictor,
    image: AnyImage,
    checkpoint_info: Mapping[str, Any] | None = None,
    config: ConfigLike | None = None,
    *,
    score_threshold: ScoreThreshold | None = None,
    nms_threshold: float | None = None,
    bgr: bool = False,
    explain: bool = False,
) -> Result:
    """Return mask, boxes and state of one image, in its own pixels; tasks that the model lacks are absent.

    Args:
        model: from `load_model`.
        image: a path, the bytes of a file, a Pillow image, or an RGB array (H, W, 3) uint8;
            `panvision.inference.images.to_rgb` has the details.
        checkpoint_info: names of the classes; by default the model's own.
        config: its `detection` thresholds, unless given here; its `data.max_pixels` is the largest image.
        score_threshold: boxes with a lower score are not reported: a number, or numbers by class.
        nms_threshold: of two boxes of one class with a larger IoU, the one with the lower score is dropped.
        bgr: True if the channels of the array are blue, green, red, like in a frame of OpenCV.
        explain: add `explanation`, which pixels raised the probability of the state and the scores of the best boxes:
            ``{"classification": (H, W), "detection": [(H, W), …]}``, float32 from 0 to 1; only for a checkpoint.
            `panvision.inference.explanation.Explanation` has the details.

    Raises:
        ImageError: the image cannot be used.
        PredictorError: a threshold is outside 0 to 1, or checkpoint_info is of another model; or `explain`, and the
            model is an ONNX file or predicts masks only.
    """
    configured = _configured(model, checkpoint_info, config)
    return configured.predict(image, score_threshold, nms_threshold, bgr=bgr, explain=explain)


def run_inference(  # noqa: PLR0913 -- the arguments that users of the system know
    model: Predictor,
    image_dir: str | Path,
    checkpoint_info: Mapping[str, Any] | None = None,
    config: ConfigLike | None = None,
    output_dir: str | Path | None = None,
    visualize: bool = False,
    *,
    score_threshold: ScoreThreshold | None = None,
    nms_threshold: float | None = None,
) -> list[Result]:
    """Infer all images of a folder, by name; files that are left out or cannot be read are named in a warning.

    The return value has every mask; for a folder too large for that, use `panvision predict`.

    Args:
        model: from `load_model`.
        image_dir: the folder, whose subfolders are not read; or an image, a ZIP of images, or a pattern such as
            `photos/*/*.jpg`.
        checkpoint_info: as for `infer_image`.
        config: as for `infer_image`.
        output_dir: folder for predictions.json and a mask per image; by default nothing is written.
        visualize: also write drawn images there.
        score_threshold: as for `infer_image`.
        nms_threshold: as for `infer_image`.

    Returns:
        One result per readable image, like that of `infer_image` with `image_name` and `image_path` added.

    Raises:
        PredictorError: there is no image, or the arguments do not fit.
    """
    configured = _configured(model, checkpoint_info, config).with_thresholds(score_threshold, nms_threshold)
    results: list[Result] = []
    done = predict_directory(configured, image_dir, output_dir, visualize=visualize, on_result=results.append)
    if done.failures:
        listed = "; ".join(f"{failure.name}: {failure.reason}" for failure in done.failures)
        logger.warning("%d of %d files left out: %s", len(done.failures), len(done.failures) + len(results), listed)
    if done.leftover:
        logger.warning("%s", earlier_files(str(output_dir), done.leftover))
    return results


def _configured(model: Predictor, checkpoint_info: Mapping[str, Any] | None, config: ConfigLike | None) -> Predictor:
    """Return the model with the thresholds of a configuration and the names of a checkpoint_info."""
    if config is not None:
        wanted = config.detection
        model = model.with_thresholds(wanted.score_threshold, wanted.nms_threshold, wanted.max_detections)
        # Other configuration objects may lack these.
        if most := getattr(getattr(config, "data", None), "max_pixels", None):
            model = model.with_max_pixels(most)
        if costs := getattr(getattr(config, "decision", None), "costs", None):
            model = model.with_costs(costs.confusions)
    if checkpoint_info is None:
        return model
    boxes, labels = checkpoint_info["det_class_names"], checkpoint_info["cls_idx_to_class"]
    if len(boxes) != len(model.det_class_names) or sorted(labels) != list(range(len(model.cls_class_names))):
        raise PredictorError(
            f"checkpoint_info names {len(boxes)} box classes and {len(labels)} states, the model has "
            f"{len(model.det_class_names)} and {len(model.cls_class_names)}; pass that of its load_model"
        )
    return model.with_names(boxes, [labels[index] for index in range(len(labels))])
