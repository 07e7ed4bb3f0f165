"""The packed pictures on which an exported model is compared and calibrated."""

import math
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

import numpy as np
import numpy.typing as npt

from panvision.core.tasks import DATASETS
from panvision.dataset.packed import PackedError, PackedSet, Split, open_packed, read_splits
from panvision.export.errors import INT8_REMEDY, ExportError

Images = npt.NDArray[np.uint8]

# Where the pictures of the comparison come from: of these splits the first that has any.
_SPLITS: tuple[Split, ...] = ("test", "val", "train")


def parity_images(prepared: str | Path, splits: str | Path, *, count: int, image_size: int) -> Images:
    """The first packed test pictures, the three sets in turn: one of each, the next of each, and so on.

    Args:
        prepared: folder of `prepare`'s outputs, one subfolder per task.
        splits: the splits.csv that `validate` wrote.
        count: how many; fewer if the split has fewer. Without any test picture those of val are taken, then train's.
        image_size: side S of the model's square.

    Returns:
        (N, S, S, 3) uint8 RGB, 1 ≤ N ≤ count.

    Raises:
        PackedError: `prepared` or `splits` cannot be used, or the pictures were packed at another size.
        ExportError: there is no picture at all.
    """
    sets = _open_sets(prepared, image_size)
    rows = [read_splits(splits, packed.task, packed.files) for packed in sets]
    for split in _SPLITS:
        chosen = _in_turn([packed.images[found[split][:count]] for packed, found in zip(sets, rows, strict=True)])
        if chosen:
            return np.stack(chosen[:count])
    raise ExportError(f"{prepared}: holds no picture to compare the models on; add images and run `dvc repro`")


def calibration_images(
    prepared: str | Path, splits: str | Path, *, count: int, image_size: int, tasks: Sequence[str]
) -> Images:
    """Packed training pictures, an equal share from each set of the model's tasks, spread evenly over that set.

    Args:
        prepared: folder of `prepare`'s outputs, one subfolder per task.
        splits: the splits.csv that `validate` wrote.
        count: how many; fewer where a set has fewer than its share.
        image_size: side S of the model's square.
        tasks: those of the model.

    Returns:
        (N, S, S, 3) uint8 RGB, 1 ≤ N ≤ count.

    Raises:
        PackedError: `prepared` or `splits` cannot be used, or the pictures were packed at another size.
        ExportError: there is no training picture.
    """
    sets = [packed for packed in _open_sets(prepared, image_size) if packed.task in tasks]
    chosen = []
    for packed in sets:
        rows = read_splits(splits, packed.task, packed.files)["train"]
        share = min(math.ceil(count / len(sets)), len(rows))
        # Not the first ones: files of one class stand together.
        places = np.linspace(0, len(rows) - 1, share).astype(np.int64)
        chosen.append(packed.images[rows[places]])
    taken = _in_turn(chosen)[:count]
    if not taken:
        raise ExportError(
            f"{prepared}: holds no training picture to calibrate INT8 on; add images and run `dvc repro`, "
            f"or {INT8_REMEDY}"
        )
    return np.stack(taken)


def _open_sets(prepared: str | Path, image_size: int) -> list[PackedSet]:
    """The three sets, held to be packed at the model's size."""
    sets = [open_packed(Path(prepared) / task, task) for task in DATASETS]
    for packed in sets:
        if packed.image_size != image_size:
            raise PackedError(
                f"{packed.folder}: packed at {packed.image_size} pixels, but the checkpoint takes {image_size}; "
                "train on these data first"
            )
    return sets


def _in_turn(sets: Sequence[Images]) -> list[Images]:
    """One picture of each set, the next of each, and so on until all are through."""
    return [image for turn in zip_longest(*sets) for image in turn if image is not None]
