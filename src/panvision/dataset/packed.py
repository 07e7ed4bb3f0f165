"""The packed arrays and tables that `prepare` and `validate` write and every later stage reads."""

import itertools
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from panvision.core.tasks import Dataset

if TYPE_CHECKING:
    import pandas as pd

Split = Literal["train", "val", "test"]

SPLITS: tuple[Split, ...] = ("train", "val", "test")

# Kind of array → its file. Earlier versions had masks of 0 and 1 in masks.npy, which must not be taken for coverage.
ARRAYS = {"image": "images.npy", "look": "looks.npy", "coverage": "coverage.npy"}
# Packed masks have at least this value where half of a pixel or more is pan.
HALF_PAN = 128

# A crowd of class k (COCO's iscrowd: several objects in one box) has the label CROWD - k.
CROWD = -2

BOX_COLUMNS = ("row", "x1", "y1", "x2", "y2", "label")
SPLIT_COLUMNS = ("task", "file", "group", "split")
# Columns of index.csv that every dataset needs here, and those with the labels of one.
_COLUMNS = ("file", "width", "height")
_LABEL_COLUMNS: dict[Dataset, tuple[str, ...]] = {"segmentation": ("mask", "drawn"), "classification": ("label",)}


# Column → its type.
Types = Mapping[str, type | str]


class PackedError(ValueError):
    """Packed data that cannot be used; the message names the file or folder and the remedy."""


@dataclass(frozen=True, eq=False)
class PackedSet:
    """The images and labels of one dataset, N samples, rows sorted by file.

    Attributes:
        task: `segmentation`, `detection` or `classification`.
        folder: the folder with the arrays.
        files: path of each image below `<data.root>/<task>`, with forward slashes.
        sizes: (N, 2) int32, width and height of the original images after EXIF orientation.
        classes: class names in the order of their indexes.
        images: (N, S, S, 3) uint8 RGB, memory-mapped.
        masks: (N, S, S) uint8, memory-mapped: the part of each pixel that is pan, 255 for all of it, `HALF_PAN` or more
            where it is at least half; segmentation only.
        looks: (N, 64, 64) uint8 grey thumbnails, memory-mapped; copies are recognised by them.
        mask_files: path of each mask below `<data.root>/segmentation`, "" if the mask was drawn from annotated
            outlines; segmentation only.
        drawn_files: path below `folder` of each mask that was drawn, at the image's own size; else "".
        boxes: per image (M, 4) float32 x1, y1, x2, y2 in ORIGINAL pixels; detection only.
        labels: per image (M,) int64 class indexes; detection only.
        crowds, crowd_labels: the same of crowds, with their class indexes: regions in which nothing is right or wrong.
        states: (N,) int64 class indexes; classification only.
    """

    task: Dataset
    folder: Path
    files: list[str]
    sizes: npt.NDArray[np.int32]
    classes: list[str]
    images: npt.NDArray[np.uint8]
    looks: npt.NDArray[np.uint8]
    masks: npt.NDArray[np.uint8] | None = None
    mask_files: list[str] | None = None
    drawn_files: list[str] | None = None
    boxes: list[npt.NDArray[np.float32]] | None = None
    labels: list[npt.NDArray[np.int64]] | None = None
    crowds: list[npt.NDArray[np.float32]] | None = None
    crowd_labels: list[npt.NDArray[np.int64]] | None = None
    states: npt.NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.files)

    @property
    def image_size(self) -> int:
        """Side S of the packed images in pixels."""
        return int(self.images.shape[1])

    def packed_boxes(self, row: int) -> npt.NDArray[np.float32]:
        """Return the boxes of one image, (M, 4) float32, in pixels of the packed square."""
        if self.boxes is None:
            raise PackedError(f"{self.folder}: {self.task} has no boxes")
        return self._scaled(self.boxes[row], row)

    def packed_crowds(self, row: int) -> npt.NDArray[np.float32]:
        """Return the crowds of one image, (C, 4) float32, in pixels of the packed square."""
        return self._scaled(np.zeros((0, 4), np.float32) if self.crowds is None else self.crowds[row], row)

    def _scaled(self, boxes: npt.NDArray[np.float32], row: int) -> npt.NDArray[np.float32]:
        width, height = (float(side) for side in self.sizes[row])
        scale = np.array([1 / width, 1 / height, 1 / width, 1 / height]) * self.image_size
        return (boxes * scale).astype(np.float32)


def open_packed(folder: str | Path, task: Dataset, index: "pd.DataFrame | None" = None) -> PackedSet:
    """Open what `prepare` wrote for one dataset; the pixels stay on disk until they are read.

    Args:
        folder: the folder with the arrays.
        task: the dataset.
        index: the table of `read_index`, if it was read already.

    Raises:
        PackedError: the folder is missing, incomplete or inconsistent.
    """
    folder = Path(folder)
    if index is None:
        index = read_index(folder, task, (*_COLUMNS, *_LABEL_COLUMNS.get(task, ())))
    try:
        classes = [str(name) for name in json.loads((folder / "classes.json").read_text(encoding="utf-8"))["classes"]]
        packed = PackedSet(
            task=task,
            folder=folder,
            files=index["file"].tolist(),
            sizes=index[["width", "height"]].to_numpy().astype(np.int64).astype(np.int32),
            classes=classes,
            images=np.load(folder / ARRAYS["image"], mmap_mode="r"),
            looks=np.load(folder / ARRAYS["look"], mmap_mode="r"),
        )
        packed = _with_labels(packed, index)
    except FileNotFoundError as error:
        raise PackedError(f"{error.filename}: missing; run `python stages/prepare.py {task}`") from error
    except (KeyError, ValueError, IndexError) as error:
        raise PackedError(f"{folder}: damaged ({error}); run `python stages/prepare.py {task}` again") from error
    arrays = [packed.images, packed.looks, *([] if packed.masks is None else [packed.masks])]
    if any(len(array) != len(packed) for array in arrays):
        raise PackedError(f"{folder}: index and arrays differ in length; run `python stages/prepare.py {task}` again")
    return packed


def read_index(
    folder: str | Path, task: Dataset, columns: Sequence[str] | None = None, *, types: Types | None = None
) -> "pd.DataFrame":
    """Read index.csv of a packed dataset; cells are text if `types` does not say otherwise.

    Args:
        folder: the folder with the table.
        task: the dataset, for messages.
        columns: the columns that are needed; None: all.
        types: the types of some columns, as for `read_table`.

    Raises:
        PackedError: the table is missing, damaged, or lacks a column.
    """
    path = Path(folder) / "index.csv"
    try:
        return read_table(path, columns, types)
    except FileNotFoundError as error:
        raise PackedError(f"{path}: missing; run `python stages/prepare.py {task}`") from error
    except (KeyError, ValueError) as error:
        raise PackedError(f"{folder}: damaged ({error}); run `python stages/prepare.py {task}` again") from error


def read_table(path: Path, columns: Sequence[str] | None = None, types: Types | None = None) -> "pd.DataFrame":
    """Read a CSV table of the pipeline; cells are text, empty ones "", if `types` does not say otherwise.

    Args:
        path: the table.
        columns: the columns that are needed; None: all.
        types: the types of columns with numbers, or with bytes of a fixed length ("S64").

    Raises:
        FileNotFoundError: there is none.
        KeyError: it lacks a column.
        ValueError: it is damaged, for example cut within a line.
    """
    # Imported here, because it takes as long as all the rest of a command that reads no table.
    import pandas as pd

    if _ends_within_line(path):
        raise ValueError(f"{path.name} ends within a line")
    table = pd.read_csv(
        path,
        dtype=defaultdict(lambda: object, types or {}),
        usecols=None if columns is None else lambda name: name in columns,
        index_col=False,
        na_filter=False,
        low_memory=False,
        encoding="utf-8",
    )
    for name in columns or ():
        if name not in table:
            raise KeyError(f"{path.name} has no column {name!r}")
    return table if columns is None else table[list(columns)]


def _ends_within_line(path: Path) -> bool:
    with path.open("rb") as stream:
        size = stream.seek(0, 2)
        stream.seek(max(size - 1, 0))
        return size > 0 and stream.read() != b"\n"


def read_splits(path: str | Path, task: Dataset, files: list[str]) -> dict[str, npt.NDArray[np.int64]]:
    """Return the rows of a packed dataset that belong to `train`, `val` and `test`.

    Args:
        path: the splits.csv that `validate` wrote.
        task: the dataset.
        files: `PackedSet.files`; the splits must name exactly these.

    Returns:
        Split name → rising row numbers, int64, for all three splits.

    Raises:
        PackedError: the table is missing or damaged, names an unknown split, or was made from other images.
    """
    remedy = "run `python stages/validate.py`"
    try:
        table = read_table(Path(path), ("task", "file", "split"))
    except FileNotFoundError as error:
        raise PackedError(f"{path}: missing; {remedy}") from error
    except (KeyError, ValueError) as error:
        raise PackedError(f"{path}: damaged ({error}); {remedy} again") from error
    own = table[table["task"] == task]
    given = dict(zip(own["file"].tolist(), own["split"].tolist(), strict=True))
    unknown = sorted(set(given.values()) - set(SPLITS))
    if unknown:
        raise PackedError(f"{path}: unknown split {unknown[0]!r}; allowed: {', '.join(SPLITS)}")
    differing = sorted(set(files) ^ set(given))
    if differing:
        raise PackedError(
            f"{path}: {len(differing)} {task} images differ from the packed ones, for example {differing[0]}; {remedy}"
        )
    sides = np.array([given[file] for file in files], dtype=object)
    return {split: np.flatnonzero(sides == split) for split in SPLITS}


def _with_labels(packed: PackedSet, index: "pd.DataFrame") -> PackedSet:
    """Add the fields that only the dataset's own labels fill."""
    if packed.task == "segmentation":
        masks = np.load(packed.folder / ARRAYS["coverage"], mmap_mode="r")
        return replace(packed, masks=masks, mask_files=index["mask"].tolist(), drawn_files=index["drawn"].tolist())
    if packed.task == "classification":
        numbers = {name: number for number, name in enumerate(packed.classes)}
        return replace(packed, states=np.array([numbers[label] for label in index["label"].tolist()], np.int64))
    objects, crowds = _read_boxes(packed.folder / "boxes.csv", len(packed), len(packed.classes))
    return replace(packed, boxes=objects[0], labels=objects[1], crowds=crowds[0], crowd_labels=crowds[1])


# Coordinates (M, 4) and labels (M,) of each image, views of one array each.
_Boxes = tuple[list[npt.NDArray[np.float32]], list[npt.NDArray[np.int64]]]


def _read_boxes(path: Path, images: int, classes: int) -> tuple[_Boxes, _Boxes]:
    """Read boxes.csv: the objects and the crowds of each of `images` rows."""
    edges = ["x1", "y1", "x2", "y2"]
    table = read_table(path, BOX_COLUMNS, {"row": np.int64, "label": np.int64, **dict.fromkeys(edges, np.float64)})
    rows, labels = table["row"].to_numpy(), table["label"].to_numpy()
    crowd = labels <= CROWD
    indexes = np.where(crowd, CROWD - labels, labels)
    outside = (rows < 0) | (rows >= images) | (indexes < 0) | (indexes >= classes)
    if outside.any():
        first = int(outside.argmax())
        raise ValueError(f"{path.name}: row {rows[first]}, label {labels[first]} out of range")
    order = np.argsort(rows, kind="stable")
    rows, xyxy, indexes, crowd = rows[order], table[edges].to_numpy(np.float32)[order], indexes[order], crowd[order]

    def by_image(chosen: npt.NDArray[np.bool_]) -> _Boxes:
        starts = np.searchsorted(rows[chosen], np.arange(images + 1)).tolist()
        spans = list(itertools.pairwise(starts))
        own_boxes, own_labels = xyxy[chosen], indexes[chosen]
        return [own_boxes[start:stop] for start, stop in spans], [own_labels[start:stop] for start, stop in spans]

    return by_image(~crowd), by_image(crowd)
