"""The mask smoothed over time."""

import numpy as np
import numpy.typing as npt

from panvision.monitor.smoothing import weight_of


class MaskSmoother:
    """A mask whose pixels change only if most of the recent frames want it; another image size restarts it.

    For each pixel the exponential average of "the frame differs from what is shown" is kept. Above one half the pixel
    changes, and the average starts again from 0. So pixels turn on exactly as late as they turn off, also on a tie (one
    frame after a long gap, or one half-life), and however short they were on: a moving pan keeps its width. An average
    of the mask itself, with a threshold, is above one half on ties for neither, and the pan loses its leading edge.

    Args:
        half_life: seconds; 0 reports every frame's mask unchanged.
    """

    def __init__(self, half_life: float) -> None:
        self._half_life = half_life
        self._shown: npt.NDArray[np.bool_] | None = None
        self._differs = np.zeros((0, 0), np.float32)
        self._time = 0.0

    def update(self, mask: npt.NDArray[np.uint8], time: float) -> npt.NDArray[np.uint8]:
        """Take in a frame's mask (H, W) uint8, 0 or 255; returns the smoothed mask of the same form."""
        weight = np.float32(weight_of(time - self._time, self._half_life))
        self._time = time
        if self._shown is None or self._shown.shape != mask.shape:
            self._shown, self._differs = mask > 0, np.zeros(mask.shape, np.float32)
        else:
            self._differs *= 1 - weight
            np.add(self._differs, weight, out=self._differs, where=(mask > 0) ^ self._shown)
            changed = self._differs > 0.5
            self._shown ^= changed
            np.copyto(self._differs, 0.0, where=changed)
        return np.multiply(self._shown.view(np.uint8), np.uint8(255))
