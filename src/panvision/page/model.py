"""The one loaded model of a page, which all its visitors share."""

import threading
from dataclasses import dataclass

from panvision.inference.backend import PredictorError
from panvision.inference.predictor import Predictor
from panvision.inference.results import Result
from panvision.photos.pixels import ImageError, RgbArray


class PageError(ValueError):
    """What a visitor gave cannot be used, or the page cannot be served; the message says why and what helps."""


@dataclass(frozen=True)
class Controls:
    """What the sliders say.

    Attributes:
        score: boxes scoring lower are not shown, 0 to 1.
        nms: of two boxes of a class with a larger IoU, the better one is shown, 0 to 1.
        half_life: seconds after which evidence for a state counts half; of clips and cameras.
        margin: smoothed probability by which a new state must be ahead, 0 to 0.9; likewise.
    """

    score: float
    nms: float
    half_life: float = 0.5
    margin: float = 0.2


class SharedModel:
    """A predictor that one thread at a time uses.

    Args:
        predictor: the model; its thresholds are where the sliders start.
    """

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor
        self.info = predictor.info
        self._lock = threading.Lock()

    def predict(self, image: RgbArray, controls: Controls) -> Result:
        """Mask, boxes and state of a picture (H, W, 3) uint8 RGB, in its own pixels.

        Raises:
            PageError: the model cannot answer.
        """
        try:
            configured = self.predictor.with_thresholds(controls.score, controls.nms)
            with self._lock:
                return configured.predict(image)
        except (PredictorError, ImageError) as error:
            raise PageError(str(error)) from error
