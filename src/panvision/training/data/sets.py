"""The three packed sets with their splits, and batches of what is looked at and not learned from."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from panvision.core.tasks import DATASETS, TASKS, Task
from panvision.dataset.packed import PackedError, PackedSet, Split, open_packed, read_splits

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

    def split(self, name: Split, tasks: Collection[Task] = tuple(TASKS)) -> dict[str, Rows]:
        """Return the rows of one split by dataset, of the datasets that some tasks learn from."""
        used = {TASKS[task].dataset for task in tasks}
        return {dataset: self.rows[dataset][name] for dataset in DATASETS if dataset in used}


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
