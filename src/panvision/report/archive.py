"""The images of all datasets by name, packed or raw, with their labels, as thumbnails."""

import stat
import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Self

import numpy as np
from PIL import Image

from panvision.core.tasks import DATASETS
from panvision.dataset.packed import HALF_PAN, SPLIT_COLUMNS, PackedSet
from panvision.dataset.paths import leaves_root
from panvision.photos.drawing import draw_result
from panvision.photos.pixels import IMAGE_SUFFIXES, ImageError, RgbArray, read_image
from panvision.photos.settings import DataSettings
from panvision.report.inputs import read_table
from panvision.report.thumbnails import fit, jpeg_uri

JPEG_QUALITY = 80

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Tile:
    """One image with its caption.

    Attributes:
        name: `dataset/file`.
        note: its dataset, split and class, as far as known.
        uri: a JPEG as data URI; "" if it cannot be shown.
        width, height: of the thumbnail in pixels.
    """

    name: str
    note: str
    uri: str = ""
    width: int = 0
    height: int = 0


@dataclass(frozen=True)
class Archive:
    """An index of the images.

    Attributes:
        data: location of the raw files and largest size of an image.
        packed: the datasets.
        rows: dataset and row of each packed image, by its `dataset/file` and by that of its mask.
        groups: group of each packed image by `dataset/file`; empty before the split.
        splits: split of each packed image by `dataset/file`; empty before the split.
        members: `dataset/file` of each group's images, sorted.
        enlarged: factor by which a thumbnail can be enlarged; above 1 it is drawn from the raw image.
    """

    data: DataSettings
    packed: Sequence[PackedSet] = ()
    rows: dict[str, tuple[PackedSet, int]] = field(default_factory=dict)
    groups: dict[str, str] = field(default_factory=dict)
    splits: dict[str, str] = field(default_factory=dict)
    members: dict[str, list[str]] = field(default_factory=dict)
    enlarged: int = 1

    @classmethod
    def open(cls, packed: Sequence[PackedSet], splits: Path | None, data: DataSettings, *, enlarged: int = 1) -> Self:
        """Index packed datasets and a split table (None before the split).

        Raises:
            ReportError: the table is missing or damaged.
        """
        rows: dict[str, tuple[PackedSet, int]] = {}
        for own in packed:
            for row, file in enumerate(own.mask_files or []):
                if file:
                    rows[f"{own.task}/{file}"] = own, row
            rows.update({f"{own.task}/{file}": (own, row) for row, file in enumerate(own.files)})
        table = [] if splits is None else read_table(splits, SPLIT_COLUMNS)
        named = [(f"{line['task']}/{line['file']}", line) for line in table]
        members: dict[str, list[str]] = defaultdict(list)
        for name, line in sorted(named, key=lambda pair: pair[0]):
            members[line["group"]].append(name)
        return cls(
            data=data,
            packed=packed,
            rows=rows,
            groups={name: line["group"] for name, line in named},
            splits={name: line["split"] for name, line in named},
            members=dict(members),
            enlarged=enlarged,
        )

    def is_image(self, name: str) -> bool:
        """True if the file of a problem is an image, readable or not, and not a folder or annotations."""
        dataset, _, file = name.partition("/")
        return name in self.rows or (dataset in DATASETS and PurePosixPath(file).suffix.lower() in IMAGE_SUFFIXES)

    def tile(self, name: str, side: int, *, labelled: bool = False, boxes: Sequence[Box] = ()) -> Tile:
        """Return a thumbnail.

        Args:
            name: `dataset/file` of an image or of a mask.
            side: longer side of the thumbnail in pixels.
            labelled: draw its mask or its boxes.
            boxes: draw only the boxes nearest to these, in original pixels.
        """
        if name not in self.rows:
            pixels = self._read_raw(name)
            note = name.partition("/")[0]
            if pixels is None:
                return Tile(name, note)
            return _tile(name, note, _resized(pixels, pixels.shape, side * self.enlarged), self.enlarged)
        packed, row = self.rows[name]
        width, height = (int(length) for length in packed.sizes[row])
        raw = self._read_raw(f"{packed.task}/{packed.files[row]}") if self.enlarged > 1 else None
        pixels = np.asarray(packed.images[row]) if raw is None else raw
        shown = _resized(pixels, (height, width), side * self.enlarged)
        if labelled:
            shown = draw_result(shown, _labels(packed, row, shown, boxes))
        notes = [packed.task, self.splits.get(f"{packed.task}/{packed.files[row]}", "")]
        if packed.states is not None:
            notes.append(packed.classes[int(packed.states[row])])
        return _tile(name, " · ".join(note for note in notes if note), shown, self.enlarged)

    def _read_raw(self, name: str) -> RgbArray | None:
        """Read an image that was not packed; None if it cannot or must not be read."""
        dataset, _, file = name.partition("/")
        if dataset not in DATASETS:
            return None
        root = Path(self.data.root) / dataset
        path = root / file
        try:
            # Reading a pipe or a device may never end.
            if leaves_root(path, root) or not stat.S_ISREG(path.stat().st_mode):
                return None
            with warnings.catch_warnings():
                # Pillow warns of damaged metadata, which is already reported as a problem.
                warnings.simplefilter("ignore")
                return read_image(path, max_pixels=self.data.max_pixels)
        except (ImageError, OSError, ValueError):
            return None


def _resized(pixels: RgbArray, size: Sequence[int], side: int) -> RgbArray:
    """Resize to the proportion of `size` (height, width), the longer side `side`."""
    return np.asarray(Image.fromarray(pixels).resize(fit((size[1], size[0]), side), Image.Resampling.LANCZOS))


def _tile(name: str, note: str, shown: RgbArray, enlarged: int) -> Tile:
    height, width = (max(1, side // enlarged) for side in shown.shape[:2])
    return Tile(name, note, jpeg_uri(shown, JPEG_QUALITY), width=width, height=height)


def _labels(packed: PackedSet, row: int, shown: RgbArray, chosen: Sequence[Box]) -> Mapping[str, Any]:
    """Return the labels of a packed image in the pixels of its thumbnail, for `draw_result`."""
    height, width = shown.shape[:2]
    if packed.masks is not None:
        shares = Image.fromarray(np.asarray(packed.masks[row])).resize((width, height), Image.Resampling.BILINEAR)
        return {"segmentation": {"mask": (np.asarray(shares) >= HALF_PAN).view(np.uint8)}}
    if packed.boxes is None or packed.labels is None:
        return {}
    boxes = packed.boxes[row]
    rows = list(range(len(boxes)))
    if chosen and rows:
        rows = sorted({int(np.abs(boxes - np.array(box)).sum(axis=1).argmin()) for box in chosen})
    scale = np.array([width, height] * 2) / np.tile(packed.sizes[row], 2)
    labels = [int(packed.labels[row][box]) for box in rows]
    names = [packed.classes[label] for label in labels]
    return {"detection": {"boxes": (boxes[rows] * scale).tolist(), "labels": labels, "class_names": names}}
