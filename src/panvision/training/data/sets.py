"""The three packed sets with their splits, and batches of what is looked at and not learned from."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from panvision.core.tasks import DATASETS
from panvision.dataset.packed import PackedError, PackedSet, Split, open_packed, read_splits
from panvision.training.data.stream import NO_OBJECT, Batch, pad_boxes, stack_images

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Sets:
    """The three sets.

    Attributes:
        packed: the packed set of each task, all of one image size.
        rows: task → split → rows; no training or validation split is empty.
    """

    packed: dict[str, PackedSet]
    rows: dict[str, dict[str, Rows]]

    @property
    def image_size(self) -> int:
        """Side S of the images in pixels."""
        return self.packed["segmentation"].image_size

    @property
    def det_classes(self) -> list[str]:
        """Names of the detection classes."""
        return self.packed["detection"].classes

    @property
    def cls_classes(self) -> list[str]:
        """Names of the states."""
        return self.packed["classification"].classes

    def split(self, name: Split, tasks: Collection[str] = DATASETS) -> dict[str, Rows]:
        """The rows of one split by task, of some tasks only if they are named."""
        return {task: self.rows[task][name] for task in DATASETS if task in tasks}


def open_sets(prepared: str | Path, splits: str | Path) -> Sets:
    """Open what `prepare` and `validate` wrote.

    Args:
        prepared: folder of `prepare`'s outputs, one subfolder per task.
        splits: the splits.csv that `validate` wrote.

    Raises:
        PackedError: something is missing or damaged, the sets differ in image size, or a training or validation
            split is empty.
    """
    packed: dict[str, PackedSet] = {task: open_packed(Path(prepared) / task, task) for task in DATASETS}
    rows: dict[str, dict[str, Rows]] = {task: read_splits(splits, task, packed[task].files) for task in DATASETS}
    sizes = {task: packed[task].image_size for task in DATASETS}
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{task} {size}" for task, size in sizes.items())
        raise PackedError(f"{prepared}: image sizes differ ({listed}); run `python stages/prepare.py` for every task")
    for task in DATASETS:
        for split in ("train", "val"):
            if not len(rows[task][split]):
                raise PackedError(f"{splits}: no {task} image is in {split}; add images, or raise split.{split}")
    return Sets(packed, rows)


def labelled_batch(packed: PackedSet, rows: Rows) -> Batch:
    """Images of some rows of one set with their labels, unchanged and in order; no other task has any."""
    masks, states = torch.zeros((0,), dtype=torch.uint8), torch.zeros((0,), dtype=torch.int64)
    boxes, labels = torch.zeros((0, 1, 4)), torch.full((0, 1), NO_OBJECT)
    if packed.masks is not None:
        masks = torch.from_numpy(np.array(packed.masks[rows]))[:, None]
    if packed.states is not None:
        states = torch.from_numpy(packed.states[rows])
    if packed.labels is not None:
        boxes, labels = pad_boxes([packed.packed_boxes(row) for row in rows], [packed.labels[row] for row in rows])
    images = stack_images([np.array(packed.images[row]) for row in rows])
    return Batch({packed.task: images}, masks, boxes, labels, states, rows={packed.task: rows})
