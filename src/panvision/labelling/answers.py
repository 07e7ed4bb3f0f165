"""The answers of one model or several to an image, undecided: what voting and the search for uncertainty start from."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TypeVar, cast

import numpy as np
import numpy.typing as npt
from PIL import Image

from panvision.decoding.classification import ClassResult
from panvision.decoding.decoder import FloatArray, RawOutputs
from panvision.decoding.detection import TOP_CANDIDATES, BoxResult
from panvision.decoding.table import DECODERS
from panvision.inference.backend import ModelInfo, PredictorError
from panvision.inference.predictor import Predictor
from panvision.photos.pixels import RgbArray, resize_rgb

Size = tuple[int, int]
Item = TypeVar("Item")


def in_batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Yield lists of `size` items, the last one shorter; no more items are taken before a list is used."""
    left = iter(items)
    while batch := list(islice(left, size)):
        yield batch


def box_thresholds(info: ModelInfo) -> dict[str, float]:
    """Return the least score of the boxes of each class of a model, by class name."""
    names = info.det_class_names
    return dict(zip(names, info.thresholds.by_class(len(names)), strict=True))


@dataclass(frozen=True)
class Answer:
    """One model's answer to one image, a part per task of the model.

    Attributes:
        mask_logits: (S, S) float32.
        boxes: in the image's pixels, from half of the lowest threshold on, and not limited in number.
        label: the probability of each class.
        features: (F,) float32, whitened: mean 0 and about standard deviation 1 in training; None without that output.
        mirrored: the network saw the image mirrored; everything here is mirrored back.
    """

    mask_logits: FloatArray | None
    boxes: BoxResult | None
    label: ClassResult | None
    features: FloatArray | None = None
    mirrored: bool = False

    def only(self, tasks: Collection[str]) -> "Answer":
        """Return the parts of some tasks."""
        return Answer(
            self.mask_logits if "segmentation" in tasks else None,
            self.boxes if "detection" in tasks else None,
            self.label if "classification" in tasks else None,
            self.features,
            self.mirrored,
        )


class Panel:
    """One model, or several of the same classes, such as the folds of a cross-validation.

    Args:
        predictors: at least one.
        flip: each model also answers to the mirrored image.
        tasks: of the models, those whose labels are wanted; by default all.

    Raises:
        PredictorError: the models differ in their tasks or classes, or lack one of `tasks`.

    Attributes:
        tasks: the tasks whose labels are wanted.
        thresholds: class name → least score of its boxes, that of the first model.
    """

    def __init__(
        self, predictors: Sequence[Predictor], *, flip: bool = False, tasks: Sequence[str] | None = None
    ) -> None:
        self.info = predictors[0].info
        self.tasks = self.info.tasks if tasks is None else tuple(tasks)
        if missing := [task for task in self.tasks if task not in self.info.tasks]:
            raise PredictorError(f"the model has {', '.join(self.info.tasks)}, but not {', '.join(missing)}")
        self.max_pixels = predictors[0].max_pixels
        self.max_detections = predictors[0].max_detections
        self.flip = flip
        for predictor in predictors[1:]:
            _check_alike(self.info, predictor.info)
        self.thresholds = box_thresholds(self.info)
        low = min(self.thresholds.values(), default=1.0) / 2
        self._predictors = [predictor.with_thresholds(low, max_detections=TOP_CANDIDATES) for predictor in predictors]

    def answer(self, images: Sequence[RgbArray]) -> list[tuple[Answer, ...]]:
        """Return every model's answer to each image (H, W, 3) uint8; those to mirrored images are mirrored back."""
        sizes = [(image.shape[1], image.shape[0]) for image in images]
        found: list[list[Answer]] = [[] for _ in images]
        for predictor in self._predictors:
            squares = np.stack([resize_rgb(image, predictor.image_size) for image in images])
            for mirrored in (False, True) if self.flip else (False,):
                outputs = predictor.finite(np.ascontiguousarray(squares[:, :, ::-1]) if mirrored else squares)
                for row, size in enumerate(sizes):
                    own = {name: output[row] for name, output in outputs.items()}
                    answer = _decoded(own, predictor.info, size)
                    found[row].append(_mirrored(answer, size[0]) if mirrored else answer)
        return [tuple(answers) for answers in found]


def _decoded(outputs: RawOutputs, info: ModelInfo, size: Size) -> Answer:
    """Decode boxes and class; the mask stays at the model's size."""

    def part(task: str) -> object:
        return DECODERS[task].decode(outputs, info, size) if task in info.tasks else None

    return Answer(
        mask_logits=outputs["mask_logits"] if "segmentation" in info.tasks else None,
        boxes=cast("BoxResult | None", part("detection")),
        label=cast("ClassResult | None", part("classification")),
        features=outputs.get("cls_features"),
    )


def _mirrored(answer: Answer, width: int) -> Answer:
    logits, boxes = answer.mask_logits, answer.boxes
    if logits is not None:
        logits = np.ascontiguousarray(logits[:, ::-1])
    if boxes is not None:
        boxes = {**boxes, "boxes": [[width - x2, y1, width - x1, y2] for x1, y1, x2, y2 in boxes["boxes"]]}
    return replace(answer, mask_logits=logits, boxes=boxes, mirrored=True)


def _check_alike(first: ModelInfo, other: ModelInfo) -> None:
    kinds = {
        "tasks": (first.tasks, other.tasks),
        "box classes": (first.det_class_names, other.det_class_names),
        "class labels": (first.cls_class_names, other.cls_class_names),
    }
    for kind, (one, another) in kinds.items():
        if one != another:
            raise PredictorError(
                f"models that vote must have the same {kind}, found {', '.join(one) or 'none'} and "
                f"{', '.join(another) or 'none'}"
            )


def mask_probability(answers: Sequence[Answer]) -> npt.NDArray[np.float64] | None:
    """Return the mean probability of the mask over all answers, (S, S) of the largest model; None without masks."""
    logits = [answer.mask_logits for answer in answers if answer.mask_logits is not None]
    if not logits:
        return None
    side = max(len(each) for each in logits)
    resized = (
        each
        if len(each) == side
        else np.asarray(
            Image.fromarray(np.ascontiguousarray(each, np.float32)).resize((side, side), Image.Resampling.BILINEAR)
        )
        for each in logits
    )
    return np.asarray(np.mean([_sigmoid(each) for each in resized], axis=0))


def _sigmoid(logits: FloatArray) -> npt.NDArray[np.float64]:
    return np.exp(-np.logaddexp(0.0, -logits.astype(np.float64)))
