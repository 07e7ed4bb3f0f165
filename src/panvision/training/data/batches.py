"""Batches: images and labels as tensors, by dataset. One function builds them for training and for validation."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from panvision.dataset.packed import PackedSet
from panvision.training.data.samples import Sample, load_sample

# Marks the unused rows of a padded batch of boxes.
NO_OBJECT = -1

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Batch:
    """Images and labels of one batch. Each dictionary has the same datasets as keys.

    Attributes:
        images: (B, 3, S, S) uint8.
        labels: by name. segmentation: `masks` (B, 1, S, S) uint8, 255 for all of a pixel. detection: `boxes` (B, M, 4)
            float32 xyxy in packed pixels, M the most boxes of an image, unused rows 0, and `labels` (B, M) int64,
            NO_OBJECT in unused rows, below it for crowds (`Sample`). classification: `classes` (B,) int64.
        rows: (B,) int64, rows of the packed dataset.
    """

    images: dict[str, Tensor]
    labels: dict[str, dict[str, Tensor]]
    rows: dict[str, Rows]

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on a device; copies from pinned memory do not block."""
        return self._with_each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> "Batch":
        """Return the batch in page-locked memory; PyTorch's loader calls this."""
        return self._with_each(Tensor.pin_memory)

    def _with_each(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        return Batch(
            {dataset: change(images) for dataset, images in self.images.items()},
            {dataset: {name: change(each) for name, each in own.items()} for dataset, own in self.labels.items()},
            self.rows,
        )


def make_batch(samples: Mapping[str, Iterable[Sample]], rows: Mapping[str, Rows]) -> Batch:
    """Return the batch of some samples of each dataset.

    Args:
        samples: at least one sample for each dataset. Iterators are read dataset by dataset, so that the arrays of one
            are free before those of the next are made.
        rows: the row of each sample.
    """
    batch = Batch({}, {}, dict(rows))
    for dataset, own in samples.items():
        batch.images[dataset], batch.labels[dataset] = _collate(list(own))
    return batch


def labelled_batch(packed: PackedSet, rows: Rows) -> Batch:
    """Return some rows of one dataset in their order, without augmentation."""
    return make_batch({packed.task: [load_sample(packed, row) for row in rows]}, {packed.task: rows})


def pad_boxes(boxes: Sequence[npt.NDArray[np.floating]], labels: Sequence[Rows]) -> tuple[Tensor, Tensor]:
    """Return lists of (M_i, 4) and (M_i,) as (B, M, 4) float32 and (B, M) int64, NO_OBJECT in unused rows; M ≥ 1."""
    most = max([1, *(len(own) for own in labels)])
    padded_boxes = np.zeros((len(boxes), most, 4), np.float32)
    padded_labels = np.full((len(boxes), most), NO_OBJECT, np.int64)
    for number, (own_boxes, own_labels) in enumerate(zip(boxes, labels, strict=True)):
        padded_boxes[number, : len(own_boxes)] = own_boxes
        padded_labels[number, : len(own_labels)] = own_labels
    return torch.from_numpy(padded_boxes), torch.from_numpy(padded_labels)


def _collate(samples: Sequence[Sample]) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the images and, by name, the labels that the samples have."""
    # (B, S, S, 3) seen as (B, 3, S, S): channels last in memory.
    images = torch.from_numpy(np.stack([sample.image for sample in samples])).permute(0, 3, 1, 2)
    found: dict[str, Tensor] = {}
    if masks := [sample.mask for sample in samples if sample.mask is not None]:
        found["masks"] = torch.from_numpy(np.stack(masks))[:, None]
    if boxes := [sample.boxes for sample in samples if sample.boxes is not None]:
        labels = [sample.labels for sample in samples if sample.labels is not None]
        found["boxes"], found["labels"] = pad_boxes(boxes, labels)
    if classes := [sample.class_label for sample in samples if sample.class_label is not None]:
        found["classes"] = torch.tensor(classes)
    return images, found
