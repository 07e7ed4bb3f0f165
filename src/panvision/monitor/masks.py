"""The mask averaged over time."""

import numpy as np
import numpy.typing as npt

from panvision.monitor.smoothing import weight_of


class MaskSmoother:
    """Exponential average of the binary mask, thresholded at one half; another image size restarts it.

    Args:
        half_life: seconds; 0 reports every frame's mask unchanged.
    """

    def __init__(self, half_life: float) -> None:
        self._half_life = half_life
        self._average: npt.NDArray[np.float32] | None = None
        self._time = 0.0

    def update(self, mask: npt.NDArray[np.uint8], time: float) -> npt.NDArray[np.uint8]:
        """Take in a frame's mask (H, W) uint8, 0 or 255; returns the smoothed mask of the same form."""
        weight = np.float32(weight_of(time - self._time, self._half_life))
        self._time = time
        if self._average is None or self._average.shape != mask.shape:
            self._average = mask.astype(np.float32)
        else:
            self._average += weight * (mask - self._average)
        return np.where(self._average > 127.5, 255, 0).astype(np.uint8)
