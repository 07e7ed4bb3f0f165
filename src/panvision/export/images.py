"""The packed images on which an exported model is compared and calibrated."""

import math
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

import numpy as np
import numpy.typing as npt

from panvision.core.tasks import DATASETS, TASKS, Task
from panvision.dataset.packed import PackedError, PackedSet, Split, open_packed, read_splits
from panvision.export.errors import INT8_REMEDY, ExportError

Images = npt.NDArray[np.uint8]

# The images of the comparison come from the first of these splits with any image.
_SPLITS: tuple[Split, ...] = ("test", "val", "train")


def parity_images(prepared: str | Path, splits: str | Path, *, count: int, image_size: int) -> Images:
    """Return the first packed test images, alternately from each dataset.

    Args:
        prepared: folder of `prepare`'s outputs, one subfolder per dataset.
        splits: the splits.csv that `validate` wrote.
        count: number of images; fewer if the split has fewer. Without a test image, val is used, then train.
        image_size: side S of the model's square.

    Returns:
        (N, S, S, 3) uint8 RGB, 1 ≤ N ≤ count.

    Raises:
        PackedError: `prepared` or `splits` cannot be used, or the images were packed at another size.
        ExportError: no image is found.
    """
    datasets = _open_datasets(prepared, image_size)
    rows = [read_splits(splits, packed.task, packed.files) for packed in datasets]
    for split in _SPLITS:
        chosen = _alternate([packed.images[found[split][:count]] for packed, found in zip(datasets, rows, strict=True)])
        if chosen:
            return np.stack(chosen[:count])
    raise ExportError(f"{prepared}: has no image to compare the models on; add images and run `dvc repro`")


def calibration_images(
    prepared: str | Path, splits: str | Path, *, count: int, image_size: int, tasks: Sequence[Task]
) -> Images:
    """Return packed training images, equally many from each dataset of the model's tasks, evenly spread over it.

    Args:
        prepared: folder of `prepare`'s outputs, one subfolder per dataset.
        splits: the splits.csv that `validate` wrote.
        count: number of images; fewer if a dataset has too few.
        image_size: side S of the model's square.
        tasks: tasks of the model.

    Returns:
        (N, S, S, 3) uint8 RGB, 1 ≤ N ≤ count.

    Raises:
        PackedError: `prepared` or `splits` cannot be used, or the images were packed at another size.
        ExportError: no training image is found.
    """
    used = {TASKS[task].dataset for task in tasks}
    datasets = [packed for packed in _open_datasets(prepared, image_size) if packed.task in used]
    chosen = []
    for packed in datasets:
        rows = read_splits(splits, packed.task, packed.files)["train"]
        own = min(math.ceil(count / len(datasets)), len(rows))
        # Evenly spread, because the files of a class follow each other.
        chosen.append(packed.images[rows[np.linspace(0, len(rows) - 1, own).astype(np.int64)]])
    taken = _alternate(chosen)[:count]
    if not taken:
        raise ExportError(
            f"{prepared}: has no training image to calibrate INT8 on; add images and run `dvc repro`, or {INT8_REMEDY}"
        )
    return np.stack(taken)


def _open_datasets(prepared: str | Path, image_size: int) -> list[PackedSet]:
    """Open the datasets, which must be packed at the model's size."""
    datasets = [open_packed(Path(prepared) / task, task) for task in DATASETS]
    for packed in datasets:
        if packed.image_size != image_size:
            raise PackedError(
                f"{packed.folder}: packed at {packed.image_size} pixels, but the checkpoint takes {image_size}; "
                "train on these data first"
            )
    return datasets


def _alternate(images: Sequence[Images]) -> list[Images]:
    """Return the first image of each dataset, then the second of each, and so on."""
    return [image for turn in zip_longest(*images) for image in turn if image is not None]
