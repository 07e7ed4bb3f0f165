"""The interface of a task's decoder."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]

# Raw outputs by name, undecoded. Those of a model have the batch axis first, those of one image do not.
RawOutputs = Mapping[str, FloatArray]


class Thresholds(NamedTuple):
    """Limits that decide which boxes are reported.

    Attributes:
        score: boxes with a lower score are dropped; one number, or one for each class.
        nms: of two boxes of one class with a larger IoU, the one with the lower score is dropped.
        max_detections: boxes kept per image, best first.
    """

    score: float | tuple[float, ...]
    nms: float
    max_detections: int

    def by_class(self, count: int) -> tuple[float, ...]:
        """Return the score of each of `count` classes."""
        return self.score if isinstance(self.score, tuple) else (self.score,) * count


class AnswerLimits(NamedTuple):
    """Limits within which an image gets a class label.

    Attributes:
        distance: largest distance from the training images, above 0.
        pan_area: smallest fraction of the image that the mask covers; None: not compared.
        pan_score: smallest score of the best box of the pan; None: not compared.
        pan_label: class index of the pan's boxes; used with `pan_score`.
    """

    distance: float
    pan_area: float | None = None
    pan_score: float | None = None
    pan_label: int = 0


@dataclass(frozen=True)
class ModelShape:
    """Properties of a model that its raw outputs depend on.

    Attributes:
        image_size: side S of the model's square input in pixels.
        strides: pixels per cell of each detection level.
        det_class_names: names of the K box classes; none without detection.
        cls_class_names: names of the C class labels; none without classification.
        thresholds: which boxes are reported.
        temperature: the class logits of classification are divided by it, so that probabilities are calibrated.
        costs: (C, C), cost of each predicted class label (column) for each true one (row); empty: all mistakes cost
            the same.
        limits: which images get a class label; None: all of them, and the model has no output `cls_distance`.
        features: values F of the output `cls_features`; 0: the model has no such output.
    """

    image_size: int
    strides: tuple[int, ...]
    det_class_names: tuple[str, ...]
    cls_class_names: tuple[str, ...]
    thresholds: Thresholds
    temperature: float = 1.0
    costs: tuple[tuple[float, ...], ...] = ()
    limits: AnswerLimits | None = None
    features: int = 0


class Decoder(NamedTuple):
    """A row of `DECODERS`.

    Attributes:
        shapes: model → shape of each raw output of one image, by name.
        decode: (raw outputs of one image, model, (width, height) of the image) → the task's part of the result,
            in the image's own pixels.
    """

    shapes: Callable[[ModelShape], dict[str, tuple[int, ...]]]
    decode: Callable[[RawOutputs, ModelShape, tuple[int, int]], Any]
