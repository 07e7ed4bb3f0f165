"""Samples: one image with the labels of its dataset."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from panvision.dataset.packed import CROWD, PackedSet


@dataclass(frozen=True, eq=False)
class Sample:
    """One image with its labels; labels that its dataset does not have are None.

    Attributes:
        image: (S, S, 3) uint8 RGB.
        mask: (S, S) uint8, the part of each pixel that is pan, 255 for all of it.
        boxes: (M, 4) float32 xyxy in packed pixels; float64 between two transforms, so that roundings do not add up.
        labels: (M,) int64 class indexes of the boxes; `CROWD` less the index for a crowd, a region to ignore.
        class_label: class index of the image.
    """

    image: npt.NDArray[np.uint8]
    mask: npt.NDArray[np.uint8] | None = None
    boxes: npt.NDArray[np.floating] | None = None
    labels: npt.NDArray[np.int64] | None = None
    class_label: int | None = None


def load_sample(packed: PackedSet, row: int) -> Sample:
    """Return one row of a packed dataset as a sample; its image and mask are copies."""
    # `asarray` first: indexing a memmap takes twice as long as indexing an array.
    return Sample(
        image=np.asarray(packed.images)[row].copy(),
        mask=None if packed.masks is None else np.asarray(packed.masks)[row].copy(),
        boxes=None if packed.boxes is None else np.concatenate([packed.packed_boxes(row), packed.packed_crowds(row)]),
        labels=None if packed.labels is None else _labels(packed.labels, packed.crowd_labels, row),
        class_label=None if packed.states is None else int(packed.states[row]),
    )


def _labels(
    labels: list[npt.NDArray[np.int64]], crowds: list[npt.NDArray[np.int64]] | None, row: int
) -> npt.NDArray[np.int64]:
    return labels[row] if crowds is None else np.concatenate([labels[row], CROWD - crowds[row]])
