"""Batches of each dataset: images and labels as tensors."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from panvision.dataset.packed import PackedSet

# Marks the unused rows of a padded batch of boxes.
NO_OBJECT = -1


@dataclass(frozen=True)
class Batch:
    """One batch of each trained dataset, in the order of DATASETS.

    Attributes:
        images: per dataset (B, 3, S, S) uint8.
        labels: per dataset: segmentation `masks` (B, 1, S, S) uint8, 0 or 1; detection `boxes` (B, M, 4) float32 xyxy
            in packed pixels and `labels` (B, M) int64, NO_OBJECT in unused rows; classification `classes` (B,) int64.
        rows: per dataset, the rows of the packed dataset.
    """

    images: dict[str, Tensor]
    labels: dict[str, dict[str, Tensor]]
    rows: dict[str, npt.NDArray[np.int64]]

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on a device; copies from pinned memory do not wait."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> "Batch":
        """Return the batch in page-locked memory; PyTorch's loader calls this."""
        return self._each(Tensor.pin_memory)

    def _each(self, change) -> "Batch":
        images = {name: change(own) for name, own in self.images.items()}
        labels = {name: {key: change(value) for key, value in own.items()} for name, own in self.labels.items()}
        return Batch(images, labels, self.rows)


def labelled_batch(packed: PackedSet, rows) -> Batch:
    from panvision.training.data.stream import pad_boxes, stack_images

    labels = {}
    if packed.masks is not None:
        labels["masks"] = torch.from_numpy(np.array(packed.masks[rows]))[:, None]
    if packed.states is not None:
        labels["classes"] = torch.from_numpy(packed.states[rows])
    if packed.labels is not None:
        labels["boxes"], labels["labels"] = pad_boxes(
            [packed.packed_boxes(row) for row in rows], [packed.labels[row] for row in rows]
        )
    images = stack_images([np.array(packed.images[row]) for row in rows])
    return Batch({packed.task: images}, {packed.task: labels}, {packed.task: rows})
