"""The packed arrays that `prepare` writes and every later stage reads. NumPy and the standard library only."""

import csv
import json
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from panvision.core.tasks import Dataset

Split = Literal["train", "val", "test"]

SPLITS: tuple[Split, ...] = ("train", "val", "test")

BOX_COLUMNS = ("row", "x1", "y1", "x2", "y2", "label")
SPLIT_COLUMNS = ("task", "file", "group", "split")
# Columns of index.csv that hold a task's labels, as far as they are not in files of their own.
_LABEL_COLUMN: dict[Dataset, tuple[str, ...]] = {"segmentation": ("mask", "drawn"), "classification": ("label",)}


class PackedError(ValueError):
    """Packed data that cannot be used; the message names the file or folder and the remedy."""


@dataclass(frozen=True, eq=False)
class PackedSet:
    """One task's images and labels, N samples, rows sorted by file.

    Attributes:
        task: `segmentation`, `detection` or `classification`.
        folder: where the arrays lie.
        files: path of each image below `<data.root>/<task>`, with forward slashes.
        sizes: (N, 2) int32, width and height of the original images after EXIF orientation.
        classes: class names in the order of their indexes.
        images: (N, S, S, 3) uint8 RGB, memory-mapped.
        masks: (N, S, S) uint8 0 or 1, memory-mapped; segmentation only.
        looks: (N, 64, 64) uint8 grey levels of the whole picture, memory-mapped; copies are recognised by them.
        mask_files: path of each mask below `<data.root>/segmentation`, "" where there is none because the mask was
            drawn from annotated outlines; segmentation only.
        drawn_files: path below `folder` of each mask that was drawn, at the picture's own size; "" elsewhere.
        boxes: per image (M, 4) float32 x1, y1, x2, y2 in ORIGINAL pixels; detection only.
        labels: per image (M,) int64 class indexes; detection only.
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
    states: npt.NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.files)

    @property
    def image_size(self) -> int:
        """Side S of the packed images in pixels."""
        return int(self.images.shape[1])

    def packed_boxes(self, row: int) -> npt.NDArray[np.float32]:
        """The boxes of one image, (M, 4) float32, in pixels of the packed square."""
        if self.boxes is None:
            raise PackedError(f"{self.folder}: {self.task} has no boxes")
        width, height = (float(side) for side in self.sizes[row])
        scale = np.array([1 / width, 1 / height, 1 / width, 1 / height]) * self.image_size
        return (self.boxes[row] * scale).astype(np.float32)


def open_packed(folder: str | Path, task: Dataset) -> PackedSet:
    """Open what `prepare` wrote for one task; the pixels stay on disk until they are read.

    Raises:
        PackedError: the folder is missing, incomplete or inconsistent.
    """
    folder = Path(folder)
    try:
        index = _read_columns(folder, ("file", "width", "height", *_LABEL_COLUMN.get(task, ())))
        classes = [str(name) for name in json.loads((folder / "classes.json").read_text(encoding="utf-8"))["classes"]]
        packed = PackedSet(
            task=task,
            folder=folder,
            files=index["file"],
            sizes=np.array([index["width"], index["height"]], np.int64).T.astype(np.int32, order="C"),
            classes=classes,
            images=np.load(folder / "images.npy", mmap_mode="r"),
            looks=np.load(folder / "looks.npy", mmap_mode="r"),
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


def read_index(folder: str | Path) -> Iterator[dict[str, str]]:
    """The rows of a packed set's index.csv one by one, as text by column name: all of them together are large.

    Raises:
        FileNotFoundError: there is none.
        ValueError: a row has too few columns.
    """
    return _rows(Path(folder) / "index.csv")


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        reader = csv.DictReader(stream)
        for row in reader:
            if None in row.values():
                raise ValueError(f"{path.name}: line {reader.line_num} is incomplete")
            yield row


def _read_columns(folder: Path, names: tuple[str, ...]) -> dict[str, list[str]]:
    """Some of index.csv's columns."""
    columns: dict[str, list[str]] = {name: [] for name in names}
    for row in read_index(folder):
        for name, values in columns.items():
            values.append(row[name])
    return columns


def read_splits(path: str | Path, task: Dataset, files: list[str]) -> dict[str, npt.NDArray[np.int64]]:
    """Which rows of a packed set belong to `train`, `val` and `test`.

    Args:
        path: the splits.csv that `validate` wrote.
        task: whose rows.
        files: `PackedSet.files`; the splits must name exactly these.

    Returns:
        Split name → rising row numbers, int64; all three names are there.

    Raises:
        PackedError: no such file, a damaged one, an unknown split, or splits made from other images.
    """
    remedy = "run `python stages/validate.py`"
    try:
        given = {row["file"]: row["split"] for row in _rows(Path(path)) if row["task"] == task}
    except FileNotFoundError as error:
        raise PackedError(f"{path}: missing; {remedy}") from error
    except KeyError as error:
        raise PackedError(f"{path}: has no column {error}; {remedy} again") from error
    except ValueError as error:
        raise PackedError(f"{path}: damaged ({error}); {remedy} again") from error
    unknown = sorted(set(given.values()) - set(SPLITS))
    if unknown:
        raise PackedError(f"{path}: unknown split {unknown[0]!r}; allowed: {', '.join(SPLITS)}")
    differing = sorted(set(files) ^ set(given))
    if differing:
        raise PackedError(
            f"{path}: {len(differing)} {task} images differ from the packed ones, for example {differing[0]}; {remedy}"
        )
    return {
        split: np.array([row for row, file in enumerate(files) if given[file] == split], np.int64) for split in SPLITS
    }


def _with_labels(packed: PackedSet, index: dict[str, list[str]]) -> PackedSet:
    """The set with the fields that only its task has, from the columns of index.csv."""
    if packed.task == "segmentation":
        masks = np.load(packed.folder / "masks.npy", mmap_mode="r")
        return replace(packed, masks=masks, mask_files=index["mask"], drawn_files=index["drawn"])
    if packed.task == "classification":
        numbers = {name: number for number, name in enumerate(packed.classes)}
        return replace(packed, states=np.array([numbers[label] for label in index["label"]], np.int64))
    boxes, labels = _read_boxes(packed.folder / "boxes.csv", len(packed), len(packed.classes))
    return replace(packed, boxes=boxes, labels=labels)


def _read_boxes(
    path: Path, images: int, classes: int
) -> tuple[list[npt.NDArray[np.float32]], list[npt.NDArray[np.int64]]]:
    """boxes.csv by image: coordinates (M, 4) and labels (M,) for each of `images` rows, views of one array each."""
    rows, labels, edges = array("q"), array("q"), array("d")
    for line in _rows(path):
        row, label = int(line["row"]), int(line["label"])
        if not (0 <= row < images and 0 <= label < classes):
            raise ValueError(f"{path.name}: row {row}, label {label} out of range")
        rows.append(row)
        labels.append(label)
        edges.extend(float(line[edge]) for edge in ("x1", "y1", "x2", "y2"))
    order = np.argsort(rows, kind="stable")
    starts = np.searchsorted(np.array(rows, np.int64)[order], np.arange(1, images))
    xyxy = np.array(edges, np.float64).reshape(-1, 4).astype(np.float32)[order]
    return np.split(xyxy, starts)[:images], np.split(np.array(labels, np.int64)[order], starts)[:images]
