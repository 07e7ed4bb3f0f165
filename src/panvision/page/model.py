"""The loaded model of a page, which all its visitors share."""

import math
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

from panvision.inference.backend import PredictorError
from panvision.inference.predictor import Predictor
from panvision.inference.results import Result
from panvision.monitor.options import MonitorOptions
from panvision.photos.pixels import ImageError, RgbArray

# The lowest and highest value of each slider.
RANGES = {"score": (0.0, 1.0), "nms": (0.0, 1.0), "half_life": (0.1, 10.0), "margin": (0.0, 0.9)}


class PageError(ValueError):
    """A request or a port that cannot be used; the message gives the reason and the remedy, `status` is HTTP's."""

    def __init__(self, reason: str, status: int = 400) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True)
class Controls:
    """Values of the sliders.

    Attributes:
        score: boxes with a lower score are not shown, 0 to 1; at its start the model's own thresholds hold.
        nms: of two boxes of a class with a larger IoU, the better one is shown, 0 to 1.
        half_life: seconds after which evidence for a state counts half; for clips and cameras.
        margin: smoothed probability by which a new state must be ahead, 0 to 0.9; for clips and cameras.
    """

    score: float
    nms: float
    half_life: float = MonitorOptions.half_life
    margin: float = MonitorOptions.margin

    def changed(self, texts: Mapping[str, str]) -> Self:
        """Return these values with those of a request, each within its range; ignore a text that is not a number."""
        values = {}
        for name, (low, high) in RANGES.items():
            try:
                value = float(texts.get(name, "nan"))
            except ValueError:
                continue
            if math.isfinite(value):
                values[name] = min(max(value, low), high)
        return replace(self, **values)


class SharedModel:
    """A predictor that one thread at a time uses; the sliders start at its thresholds, the lowest one of boxes."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor
        self.info = predictor.info
        thresholds = self.info.thresholds
        # The slider has steps of 0.01. The page shows this value as "the model's own".
        self.start = Controls(score=round(min(thresholds.by_class(1)), 2), nms=thresholds.nms)
        self._lock = threading.Lock()

    def predict(self, image: RgbArray, controls: Controls) -> Result:
        """Return mask, boxes and state of an image (H, W, 3) uint8 RGB, in its own pixels.

        Raises:
            PageError: the model cannot process the image.
        """
        try:
            score = None if controls.score == self.start.score else controls.score
            configured = self.predictor.with_thresholds(score, controls.nms)
            with self._lock:
                return configured.predict(image)
        except (PredictorError, ImageError) as error:
            raise PageError(str(error)) from error
