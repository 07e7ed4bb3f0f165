"""Area and overlap of boxes (x1, y1, x2, y2), in float64."""

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


def box_areas(boxes: npt.ArrayLike) -> FloatArray:
    """Areas (M,) of boxes (M, 4)."""
    corners = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    return (corners[:, 2] - corners[:, 0]) * (corners[:, 3] - corners[:, 1])


def box_overlap(one: npt.ArrayLike, other: npt.ArrayLike) -> FloatArray:
    """Intersection (N, M) of boxes (N, 4) and (M, 4) over the area of the first; 0 where that has no area."""
    shared = _shared(one, other)
    areas = np.broadcast_to(box_areas(one)[:, None], shared.shape)
    return np.divide(shared, areas, out=np.zeros_like(shared), where=areas > 0.0)


def box_iou(one: npt.ArrayLike, other: npt.ArrayLike) -> FloatArray:
    """Intersection over union (N, M) of boxes (N, 4) and (M, 4); 0 where neither box has an area."""
    shared = _shared(one, other)
    union = box_areas(one)[:, None] + box_areas(other) - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0.0)


def _shared(one: npt.ArrayLike, other: npt.ArrayLike) -> FloatArray:
    first = np.asarray(one, dtype=np.float64).reshape(-1, 1, 4)
    second = np.asarray(other, dtype=np.float64).reshape(1, -1, 4)
    sides = np.minimum(first[..., 2:], second[..., 2:]) - np.maximum(first[..., :2], second[..., :2])  # (N, M, 2)
    return np.asarray(np.maximum(sides[..., 0], 0.0) * np.maximum(sides[..., 1], 0.0))
