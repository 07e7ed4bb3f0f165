"""The functions that users call: load a model, infer one picture, infer a folder."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, TypedDict

from panvision.inference.backend import PredictorError
from panvision.inference.directory import predict_directory
from panvision.inference.pictures import Picture
from panvision.inference.predictor import Predictor
from panvision.inference.results import Result

logger = logging.getLogger(__name__)


class _Detection(Protocol):
    @property
    def score_threshold(self) -> float: ...
    @property
    def nms_threshold(self) -> float: ...
    @property
    def max_detections(self) -> int: ...


class ConfigLike(Protocol):
    """What inference reads of a `panvision.config.Config`."""

    @property
    def detection(self) -> _Detection:
        """The thresholds."""
        ...


class CheckpointInfo(TypedDict):
    """What a model file knows: its tasks, counts and names of its classes (none for a task that it has not).

    The hashes are those of `panvision.inference.origin`, of what made the model; None where the file does not know.
    """

    tasks: list[str]
    num_det_classes: int
    num_cls_classes: int
    det_class_names: list[str]
    cls_idx_to_class: dict[int, str]
    params_sha256: str | None
    data_sha256: str | None


def load_model(
    checkpoint_path: str | Path, config: ConfigLike | None = None, device: str | None = None
) -> tuple[Predictor, CheckpointInfo]:
    """Load a checkpoint (.pth) or an exported model (.onnx).

    Args:
        checkpoint_path: the file.
        config: its `detection` thresholds become the model's; without it, the file's own hold. The network's
            shape and the image size always come from the file.
        device: for example `config.DEVICE`; by default the GPU if there is one.

    Returns:
        The model, and what it knows of its classes.

    Raises:
        PredictorError: no such file, not a model of panvision, or damaged.
    """
    model = _configured(Predictor.load(checkpoint_path, device), None, config)
    return model, {
        "tasks": list(model.tasks),
        "num_det_classes": len(model.det_class_names),
        "num_cls_classes": len(model.cls_class_names),
        "det_class_names": model.det_class_names,
        "cls_idx_to_class": dict(enumerate(model.cls_class_names)),
        "params_sha256": model.info.params_sha256,
        "data_sha256": model.info.data_sha256,
    }


def infer_image(
    model: Predictor,
    image: Picture,
    checkpoint_info: Mapping[str, Any] | None = None,
    config: ConfigLike | None = None,
    *,
    score_threshold: float | None = None,
    nms_threshold: float | None = None,
    bgr: bool = False,
) -> Result:
    """Mask, boxes and state of one picture, in its own pixels; what the model was not trained for is absent.

    Args:
        model: what `load_model` gave.
        image: a path, a file's bytes, a Pillow image, or an RGB array (H, W, 3) uint8; in full:
            `panvision.inference.pictures.to_rgb`.
        checkpoint_info: the classes are called as it says; by default as the model does.
        config: its `detection` thresholds hold unless one is given here; its `data.max_pixels` is the largest picture.
        score_threshold: boxes scoring lower are not reported.
        nms_threshold: of two boxes of one class overlapping by more than this IoU, the lower-scored goes.
        bgr: the array's channels are blue, green, red, as in a frame of OpenCV.

    Raises:
        ImageError: the picture cannot be used.
        PredictorError: a threshold outside 0 to 1, or the checkpoint_info of another model.
    """
    return _configured(model, checkpoint_info, config).predict(image, score_threshold, nms_threshold, bgr=bgr)


def run_inference(  # noqa: PLR0913 -- the arguments that users of the system know
    model: Predictor,
    image_dir: str | Path,
    checkpoint_info: Mapping[str, Any] | None = None,
    config: ConfigLike | None = None,
    output_dir: str | Path | None = None,
    visualize: bool = False,
    *,
    score_threshold: float | None = None,
    nms_threshold: float | None = None,
) -> list[Result]:
    """All pictures of a folder, by name; one that cannot be read is named in a warning and left out.

    The result holds every mask; for a folder too large for that, use `panvision predict`.

    Args:
        model: what `load_model` gave.
        image_dir: the folder; its subfolders are not read.
        checkpoint_info: as for `infer_image`.
        config: as for `infer_image`.
        output_dir: where to write predictions.json and a mask per picture; by default nothing is written.
        visualize: write drawn pictures there too.
        score_threshold: as for `infer_image`.
        nms_threshold: as for `infer_image`.

    Returns:
        One result per readable picture, with `image_name` and `image_path` besides what `infer_image` gives.

    Raises:
        PredictorError: no such folder, nothing in it, or arguments that do not fit.
    """
    configured = _configured(model, checkpoint_info, config).with_thresholds(score_threshold, nms_threshold)
    results: list[Result] = []
    failures = predict_directory(configured, image_dir, output_dir, visualize=visualize, on_result=results.append)
    if failures:
        listed = "; ".join(f"{failure.name}: {failure.reason}" for failure in failures)
        logger.warning("%d of %d pictures left out: %s", len(failures), len(failures) + len(results), listed)
    return results


def _configured(model: Predictor, checkpoint_info: Mapping[str, Any] | None, config: ConfigLike | None) -> Predictor:
    """The model with the thresholds of a configuration and the names of a checkpoint_info."""
    if config is not None:
        wanted = config.detection
        model = model.with_thresholds(wanted.score_threshold, wanted.nms_threshold, wanted.max_detections)
        # A configuration of another make need not have it.
        if most := getattr(getattr(config, "data", None), "max_pixels", None):
            model = model.with_max_pixels(most)
    if checkpoint_info is None:
        return model
    boxes, states = checkpoint_info["det_class_names"], checkpoint_info["cls_idx_to_class"]
    if len(boxes) != len(model.det_class_names) or sorted(states) != list(range(len(model.cls_class_names))):
        raise PredictorError(
            f"checkpoint_info names {len(boxes)} box classes and {len(states)} states, the model has "
            f"{len(model.det_class_names)} and {len(model.cls_class_names)}; pass what load_model gave with it"
        )
    return model.with_names(boxes, [states[index] for index in range(len(states))])
