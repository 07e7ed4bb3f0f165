"""FCOS target assignment for a whole batch at once (Tian et al. 2020, https://arxiv.org/abs/2006.09214)."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from panvision.core.levels import level_reach
from panvision.decoding.points import level_points
from panvision.training.data.batches import NO_OBJECT


class Points(NamedTuple):
    """Locations of the predictions, P points over all levels.

    Attributes:
        xy: (P, 2) float32, centres of the cells in pixels.
        strides: (P,) float32, pixels per unit of distance.
        reach: (P, 2) float32, the smallest and largest distance in pixels to an object's farthest edge that a point
            of this level answers for; the coarsest level has no upper bound.
    """

    xy: Tensor
    strides: Tensor
    reach: Tensor

    def to(self, device: torch.device) -> "Points":
        """The same on a device."""
        return Points(self.xy.to(device), self.strides.to(device), self.reach.to(device))


class Targets(NamedTuple):
    """Targets of each of the P points of B images.

    Attributes:
        labels: (B, P) int64, class index, or NO_OBJECT for background.
        ltrb: (B, P, 4) float32, distances to the box's edges in strides; meaningless on background.
        centerness: (B, P) float32, 0 to 1; meaningless on background.
        in_crowd: (B, P, M) bool, the location is inside the row's box, which marks a crowd.
    """

    labels: Tensor
    ltrb: Tensor
    centerness: Tensor
    in_crowd: Tensor


def make_points(image_size: int, strides: Sequence[int]) -> Points:
    """The points of all levels for one image size, with the distances each level answers for."""
    xy, point_strides = (torch.from_numpy(array) for array in level_points(image_size, strides))
    ranges = torch.tensor(level_reach(image_size, len(strides)))  # (L, 2)
    level = torch.searchsorted(torch.tensor(strides, dtype=torch.float32), point_strides)  # (P,)
    return Points(xy, point_strides, ranges[level])


def assign_targets(points: Points, boxes: Tensor, labels: Tensor, *, center_radius: float) -> Targets:
    """Give every point at most one box.

    Args:
        points: locations of the predictions.
        boxes: (B, M, 4) float32 xyxy in pixels.
        labels: (B, M) int64; NO_OBJECT marks unused rows, less than that a crowd.
        center_radius: largest distance of a box's points from its centre, in strides.
    """
    x, y = points.xy[:, 0, None], points.xy[:, 1, None]  # (P, 1)
    x1, y1, x2, y2 = boxes[:, None].unbind(-1)  # (B, 1, M)
    ltrb = torch.stack([x - x1, y - y1, x2 - x, y2 - y], dim=-1)  # (B, P, M, 4)

    # Rule 1, centre sampling: the point is in the box and near its centre (the paper's section 3.3).
    inside = ltrb.amin(-1) > 0
    to_center = torch.maximum((x - (x1 + x2) / 2).abs(), (y - (y1 + y2) / 2).abs())  # (B, P, M)
    near_center = to_center < center_radius * points.strides[:, None]
    # Rule 2, levels: the box's farthest edge is at a distance that the point's level answers for.
    farthest = ltrb.amax(-1)
    fits_level = (farthest > points.reach[:, None, 0]) & (farthest <= points.reach[:, None, 1])
    candidates = inside & (labels > NO_OBJECT)[:, None]  # (B, P, M)
    matches = candidates & near_center & fits_level

    # Rule 3, ambiguity: of several boxes the smallest wins. Infinity, not a large number less the area: in float32
    # that would tie areas which differ.
    areas = ((x2 - x1) * (y2 - y1)).expand_as(matches)
    matches = matches | _nearest(candidates, matches, to_center, areas)
    smallest, chosen = areas.masked_fill(~matches, torch.inf).min(-1)  # (B, P)
    positive = smallest < torch.inf
    target_labels = labels.gather(1, chosen).masked_fill(~positive, NO_OBJECT)
    target_ltrb = ltrb.gather(2, chosen[..., None, None].expand(-1, -1, 1, 4))[:, :, 0]  # (B, P, 4) pixels
    in_crowd = inside & (labels < NO_OBJECT)[:, None]
    return Targets(target_labels, target_ltrb / points.strides[:, None], _centerness(target_ltrb), in_crowd)


def _nearest(inside: Tensor, matches: Tensor, to_center: Tensor, areas: Tensor) -> Tensor:
    """Return (B, P, M) bool: for each box that wins no location by the three rules, the nearest free one inside it.

    Thin and very small boxes have none, because their level follows from their length and its grid is coarser than
    their width. Boxes that contain no location at all stay without, and of two boxes that choose the same location the
    larger one.
    """
    smallest, winner = areas.masked_fill(~matches, torch.inf).min(-1)  # (B, P)
    taken = (smallest < torch.inf)[..., None]  # (B, P, 1)
    boxes = torch.arange(areas.shape[-1], device=areas.device)
    wins = ((winner[..., None] == boxes) & taken).any(1, keepdim=True)  # (B, 1, M)
    distance = to_center.masked_fill(~inside | taken | wins, torch.inf)  # (B, P, M)
    nearest, place = distance.min(1, keepdim=True)  # (B, 1, M)
    places = torch.arange(areas.shape[1], device=areas.device)[:, None]  # (P, 1)
    return (places == place) & (nearest < torch.inf)


def _centerness(ltrb: Tensor) -> Tensor:
    """sqrt(min(l, r) / max(l, r) · min(t, b) / max(t, b)), equation 3; (..., 4) → (...), 0 outside the box."""
    pairs = torch.stack([ltrb[..., 0::2], ltrb[..., 1::2]], dim=-2)  # (..., 2, 2): l, r and t, b
    ratios = pairs.amin(-1).clamp(min=0) / pairs.amax(-1).clamp(min=1e-6)
    return ratios.prod(-1).sqrt()
