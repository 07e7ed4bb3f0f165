"""How far a predicted mask's boundary lies from the true one."""

from typing import Any

import numpy as np
import numpy.typing as npt


def boundary_distances(truth: npt.NDArray[Any], predicted: npt.NDArray[Any]) -> tuple[float, float] | None:
    """Mean and 95th percentile of the distances between two boundaries (the average symmetric surface distance, HD95).

    A boundary is the pixels of a mask that have one of their four neighbours, inside the picture, outside the mask:
    the picture's own edge is none. From each pixel of either boundary the nearest one of the other is taken, and all
    these distances are looked at together.

    Args:
        truth: (H, W); every value but 0 is the pan.
        predicted: (H, W), likewise.

    Returns:
        Mean and 95th percentile in pixels; None where either mask has no boundary.
    """
    actual, found = boundary_pixels(truth != 0), boundary_pixels(predicted != 0)
    if not (actual.any() and found.any()):
        return None
    distances = np.concatenate([_to_nearest(actual)[found], _to_nearest(found)[actual]])
    return float(distances.mean()), float(np.percentile(distances, 95.0))


def boundary_pixels(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """The boundary of a mask, (H, W) as it is."""
    padded = np.pad(mask, 1, mode="edge")
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inner


def _to_nearest(boundary: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Euclidean distance of every pixel to the nearest boundary pixel.

    OpenCV's float32 differs in the last bits from run to run. The square of a distance between pixels is a whole
    number, and rounding to it gives the same distance always, and the exact one up to some 1,400 pixels.
    """
    import cv2

    distances = cv2.distanceTransform((~boundary).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(np.sqrt(np.rint(distances.astype(np.float64) ** 2)))
