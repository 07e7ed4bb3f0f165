"""The raw pictures of a split, predicted and set beside their truth: what `results` keeps of each."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from panvision.core.tasks import Dataset
from panvision.dataset.packed import PackedError, PackedSet, Split, open_packed, read_index, read_splits, read_table
from panvision.evaluation.boundary import boundary_distances
from panvision.evaluation.results import BoxImage, FoundBoxes, Image, MaskImage, StateImage
from panvision.inference.predictor import Predictor
from panvision.inference.results import BoxResult, Result
from panvision.photos.pixels import RgbArray
from panvision.photos.raw import read_raw_image, read_raw_mask
from panvision.photos.settings import DataSettings
from panvision.scoring.matching import AREA_RANGES, BoolArray, match_boxes
from panvision.scoring.segmentation import pixel_counts

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Source:
    """The raw pictures of one task's split."""

    packed: PackedSet
    split: Split
    rows: Rows
    hashes: list[str]  # sha256 of each file of the packed set
    groups: dict[str, str]  # file → group
    folder: Path  # <data.root>/<task>
    max_pixels: int
    batch_size: int

    def predictions(self, predictor: Predictor) -> Iterator[tuple[int, Result]]:
        """Row numbers and results, with one batch of pictures in memory at a time."""
        for start in range(0, len(self.rows), self.batch_size):
            batch = [int(row) for row in self.rows[start : start + self.batch_size]]
            yield from zip(batch, predictor.predict_batch([self._read(row) for row in batch]), strict=True)

    def describe(self, row: int) -> Image:
        """What every task keeps of a picture."""
        width, height = (int(side) for side in self.packed.sizes[row])
        file = self.packed.files[row]
        return {
            "file": file,
            "sha256": self.hashes[row],
            "group": self.groups[file],
            "width": width,
            "height": height,
        }

    def _read(self, row: int) -> RgbArray:
        return read_raw_image(self.packed, row, self.folder, max_pixels=self.max_pixels)


def open_source(
    task: Dataset, split: Split, *, prepared: str | Path, splits: str | Path, data: DataSettings, batch_size: int
) -> Source:
    """One task's pictures of a split.

    Raises:
        PackedError: `prepared` or `splits` cannot be used.
    """
    packed = open_packed(Path(prepared) / task, task)
    rows = read_splits(splits, task, packed.files)[split]
    try:
        hashes = read_index(packed.folder, task)["sha256"].tolist()
        table = read_table(Path(splits), ("task", "file", "group"))
        own = table[table["task"] == task]
        groups = dict(zip(own["file"].tolist(), own["group"].tolist(), strict=True))
    except KeyError as error:
        raise PackedError(f"{packed.folder} or {splits}: has no column {error}; run `dvc repro validate`") from error
    return Source(packed, split, rows, hashes, groups, Path(data.root) / task, data.max_pixels, batch_size)


def mask_images(predictor: Predictor, source: Source) -> list[MaskImage]:
    """Masks beside the true ones."""
    images: list[MaskImage] = []
    for row, result in source.predictions(predictor):
        truth, found = read_raw_mask(source.packed, row, source.folder), result["segmentation"]["mask"]
        distances = boundary_distances(truth, found)
        images.append(
            {
                **source.describe(row),
                "pixels": pixel_counts(truth, found).tolist(),
                "boundary": None if distances is None else {"mean": distances[0], "p95": distances[1]},
            }
        )
    return images


def box_images(predictor: Predictor, source: Source) -> list[BoxImage]:
    """Boxes matched to the true ones."""
    boxes, labels = source.packed.boxes, source.packed.labels
    if boxes is None or labels is None:
        raise PackedError(f"{source.packed.folder}: has no boxes; run `python stages/prepare.py detection`")
    return [
        {
            **source.describe(row),
            "truth": {"boxes": boxes[row].tolist(), "labels": labels[row].tolist()},
            "found": found_boxes(result["detection"], boxes[row], labels[row]),
        }
        for row, result in source.predictions(predictor)
    ]


def state_images(predictor: Predictor, source: Source) -> list[StateImage]:
    """Probabilities beside the true state."""
    states = source.packed.states
    if states is None:
        raise PackedError(f"{source.packed.folder}: has no states; run `python stages/prepare.py classification`")
    return [
        {
            **source.describe(row),
            "truth": int(states[row]),
            "probabilities": [result["classification"]["probabilities"][name] for name in source.packed.classes],
        }
        for row, result in source.predictions(predictor)
    ]


def found_boxes(result: BoxResult, boxes: npt.NDArray[Any], labels: npt.NDArray[Any]) -> FoundBoxes:
    """What is kept of a picture's found boxes, from its true boxes (M, 4) and their class indexes (M,)."""
    matching = match_boxes(boxes, labels, result["boxes"], result["labels"], result["scores"])
    return {
        "boxes": [[round(edge, 2) for edge in box] for box in result["boxes"]],
        "labels": result["labels"],
        "scores": result["scores"],
        "match": matching.match.tolist(),
        "iou": matching.iou.round(4).tolist(),
        "hits": _as_bits(matching.hits),
        "ignored": _as_bits(matching.ignored),
    }


def _as_bits(flags: BoolArray) -> dict[str, list[int]]:
    """Flags (A, T, D) as an integer per area range and box, bit t from threshold t."""
    values = 2 ** np.arange(flags.shape[1])
    return {name: (values @ own).tolist() for name, own in zip(AREA_RANGES, flags, strict=True)}
