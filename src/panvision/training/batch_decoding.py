"""Raw outputs of a batch to results, on the model's device, for validation.

The results are those of `panvision.decoding`, which decodes the shipped model image by image in NumPy. A GPU decodes a
batch in less time than it would wait for that.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import batched_nms

from panvision.core.tasks import Task
from panvision.decoding.decoder import ModelShape
from panvision.decoding.detection import TOP_CANDIDATES
from panvision.decoding.table import DECODERS
from panvision.training.losses.targets import Points

# Results of each image, from the raw outputs of N images by name, each (N, ...).
BatchDecoder = Callable[[Mapping[str, Tensor], ModelShape, Points], list[Any]]


def decode_batch(task: Task, outputs: Mapping[str, Tensor], model: ModelShape, points: Points) -> list[Any]:
    """Decode one task's raw outputs of N images; the device is waited for once, for detection twice more.

    Args:
        task: a task without a row in `BATCH_DECODERS` is decoded by its row of `DECODERS`, image by image.
        outputs: by name, (N, ...) float32 each.
        model: what the outputs depend on.
        points: the model's FCOS locations, on the device of the outputs.

    Returns:
        What the task's scorer reads of the result of each image, in pixels of the model's square.
    """
    if task in BATCH_DECODERS:
        return BATCH_DECODERS[task](outputs, model, points)
    arrays = {name: output.cpu().numpy() for name, output in outputs.items()}
    (count,) = {len(array) for array in arrays.values()}
    rows = ({name: array[row] for name, array in arrays.items()} for row in range(count))
    return [DECODERS[task].decode(row, model, (model.image_size,) * 2) for row in rows]


def decode_masks(outputs: Mapping[str, Tensor], model: ModelShape, points: Points) -> list[Any]:
    """Return `mask` (S, S) uint8 of each image, 0 or 255."""
    masks = (outputs["mask_logits"] > 0.0).to(torch.uint8) * 255
    return [{"mask": mask} for mask in masks.cpu().numpy()]


def decode_boxes(outputs: Mapping[str, Tensor], model: ModelShape, points: Points) -> list[Any]:
    """Return of each image, best box first, `boxes` (M, 4) float32, `scores` (M,) float32 and `labels` (M,) int64."""
    scores = (outputs["class_logits"].sigmoid() * outputs["centerness"].sigmoid()[..., None]).sqrt()  # (N, P, K)
    classes = scores.shape[2]
    # Stable: of equal scores the earlier comes first.
    scores, order = scores.flatten(1).sort(dim=1, descending=True, stable=True)
    scores, order = scores[:, :TOP_CANDIDATES], order[:, :TOP_CANDIDATES]  # (N, M)
    place, labels = order // classes, order % classes
    ltrb = outputs["ltrb"].gather(1, place[..., None].expand(-1, -1, 4)) * points.strides[place][..., None]
    xy = points.xy[place]
    boxes = torch.cat([xy - ltrb[..., :2], xy + ltrb[..., 2:]], dim=-1).clamp(0.0, model.image_size)  # (N, M, 4)
    limits = scores.new_tensor(model.thresholds.by_class(classes))  # (K,)
    used = (scores >= limits[labels]) & (boxes[..., 2:] > boxes[..., :2]).all(dim=-1)
    table = torch.cat([boxes, scores[..., None], labels[..., None].float()], dim=-1)[used]
    kept = [_without_overlaps(rows, model) for rows in table.split(used.sum(dim=1).tolist())]
    ends = np.cumsum([len(rows) for rows in kept])[:-1]
    found = np.split(torch.cat(kept).cpu().numpy(), ends)
    return [{"boxes": rows[:, :4], "scores": rows[:, 4], "labels": rows[:, 5].astype(np.int64)} for rows in found]


def _without_overlaps(rows: Tensor, model: ModelShape) -> Tensor:
    """Return the rows (M, 6), box, score and label, that non-maximum suppression within each class keeps."""
    # In float64, because torchvision moves the boxes of each class apart, far from the origin.
    exact = rows.double()
    kept = batched_nms(exact[:, :4], exact[:, 4], exact[:, 5], model.thresholds.nms)
    return rows[kept[: model.thresholds.max_detections]]


BATCH_DECODERS: dict[Task, BatchDecoder] = {"segmentation": decode_masks, "detection": decode_boxes}
