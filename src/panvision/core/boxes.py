"""Area and overlap of boxes (x1, y1, x2, y2), in float64."""

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


def box_areas(boxes: npt.ArrayLike) -> FloatArray:
    """Areas (M,) of boxes (M, 4)."""
    corners = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    return (corners[:, 2] - corners[:, 0]) * (corners[:, 3] - corners[:, 1])


def box_iou(one: npt.ArrayLike, other: npt.ArrayLike) -> FloatArray:
    """Intersection over union (N, M) of boxes (N, 4) and (M, 4); 0 where neither box has an area."""
    first = np.asarray(one, dtype=np.float64).reshape(-1, 1, 4)
    second = np.asarray(other, dtype=np.float64).reshape(1, -1, 4)
    sides = np.minimum(first[..., 2:], second[..., 2:]) - np.maximum(first[..., :2], second[..., :2])  # (N, M, 2)
    shared = np.maximum(sides[..., 0], 0.0) * np.maximum(sides[..., 1], 0.0)
    union = box_areas(first)[:, None] + box_areas(second) - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0.0)
