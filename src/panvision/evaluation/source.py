"""The raw images of a split, predicted and next to their truth."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from panvision.core.tasks import Dataset
from panvision.dataset.packed import PackedError, PackedSet, Split, open_packed, read_index, read_splits, read_table
from panvision.inference.predictor import Predictor
from panvision.inference.results import Result, decode
from panvision.photos.pixels import RgbArray, resize_rgb
from panvision.photos.raw import read_raw_image
from panvision.photos.settings import DataSettings
from panvision.photos.truth import read_truth


class Predicted(NamedTuple):
    """One image of a split.

    Attributes:
        described: the fields that the results of every task have.
        result: by the thresholds that are scored.
        reported: by the thresholds of the shipped model.
        truth: its labels.
        square: (S, S, 3) uint8 RGB, the image at the model's size.
    """

    described: dict[str, Any]
    result: Result
    reported: Result
    truth: dict[str, Any]
    square: RgbArray


@dataclass(frozen=True)
class Source:
    """The raw images of one dataset's split.

    Attributes:
        packed: the packed dataset.
        split: name of the split.
        rows: its images, indexes into `packed`.
        hashes: sha256 of each file of `packed`.
        groups: file → group.
        data: location of the raw images and largest size of an image.
        batch_size: images per forward pass.
    """

    packed: PackedSet
    split: Split
    rows: npt.NDArray[np.int64]
    hashes: list[str]
    groups: dict[str, str]
    data: DataSettings
    batch_size: int

    def predict(self, predictor: Predictor, shipped: Predictor) -> Iterator[Predicted]:
        """Yield each image, with one batch in memory at a time.

        Args:
            predictor: its thresholds give the result.
            shipped: the same model, whose thresholds give the reported result.
        """
        folder = Path(self.data.root) / self.packed.task
        for start in range(0, len(self.rows), self.batch_size):
            batch = [int(row) for row in self.rows[start : start + self.batch_size]]
            images = [read_raw_image(self.packed, row, folder, max_pixels=self.data.max_pixels) for row in batch]
            squares = np.stack([resize_rgb(image, predictor.image_size) for image in images])
            outputs = predictor.finite(squares)
            for number, (row, image) in enumerate(zip(batch, images, strict=True)):
                height, width = image.shape[:2]
                result, reported = (
                    decode(outputs, number, one.info, width=width, height=height) for one in (predictor, shipped)
                )
                truth = read_truth(self.packed, row, folder)
                yield Predicted(self._describe(row), result, reported, truth, squares[number])

    def _describe(self, row: int) -> dict[str, Any]:
        """Return the fields that the results of every task have."""
        width, height = (int(side) for side in self.packed.sizes[row])
        file = self.packed.files[row]
        return {
            "file": file,
            "sha256": self.hashes[row],
            "group": self.groups[file],
            "width": width,
            "height": height,
        }


def open_source(
    dataset: Dataset, split: Split, *, prepared: str | Path, splits: str | Path, data: DataSettings, batch_size: int
) -> Source:
    """Open one dataset's images of a split.

    Raises:
        PackedError: `prepared` or `splits` cannot be used.
    """
    packed = open_packed(Path(prepared) / dataset, dataset)
    rows = read_splits(splits, dataset, packed.files)[split]
    try:
        hashes = read_index(packed.folder, dataset)["sha256"].tolist()
        table = read_table(Path(splits), ("task", "file", "group"))
        own = table[table["task"] == dataset]
        groups = dict(zip(own["file"].tolist(), own["group"].tolist(), strict=True))
    except KeyError as error:
        raise PackedError(f"{packed.folder} or {splits}: has no column {error}; run `dvc repro validate`") from error
    return Source(packed, split, rows, hashes, groups, data, batch_size)
