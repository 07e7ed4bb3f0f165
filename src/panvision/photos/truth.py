"""The truth of a packed image, shaped like a result."""

from pathlib import Path
from typing import Any

from panvision.dataset.packed import PackedError, PackedSet
from panvision.photos.raw import read_raw_mask


def read_truth(packed: PackedSet, row: int, folder: Path) -> dict[str, Any]:
    """Return the labels of one image in its own pixels.

    Args:
        packed: the dataset.
        row: index of the image.
        folder: `<data.root>/<dataset>`.

    Returns:
        `{"mask": (H, W) uint8}`, 255 on the pan; `{"boxes": (M, 4), "labels": (M,), "crowds": (C, 4),
        "crowd_labels": (C,)}`; or `{"class_idx": int}`.

    Raises:
        ImageError: the mask cannot be read.
        PackedError: the dataset has no labels, or the mask no longer fits its image.
    """
    if packed.task == "segmentation":
        return {"mask": read_raw_mask(packed, row, folder) * 255}
    if packed.boxes is not None and packed.labels is not None:
        truth = {"boxes": packed.boxes[row], "labels": packed.labels[row]}
        if packed.crowds is not None and packed.crowd_labels is not None:
            truth |= {"crowds": packed.crowds[row], "crowd_labels": packed.crowd_labels[row]}
        return truth
    if packed.states is not None:
        return {"class_idx": int(packed.states[row])}
    raise PackedError(f"{packed.folder}: has no labels; run `python stages/prepare.py {packed.task}`")
