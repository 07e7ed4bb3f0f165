"""Test pictures with what the model says beside what is true: some spread over the split, and the worst."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from panvision.core.tasks import Dataset
from panvision.dataset.packed import PackedSet, Split, open_packed, read_splits
from panvision.inference.predictor import Predictor
from panvision.inference.results import Result
from panvision.photos.drawing import draw_result
from panvision.photos.pixels import RgbArray
from panvision.photos.raw import read_raw_image, read_raw_mask
from panvision.photos.settings import DataSettings
from panvision.report.faults import Fault, Faulty
from panvision.report.faults import Kind as FaultKind
from panvision.report.inputs import ReportError
from panvision.report.thumbnails import jpeg_uri, spread
from panvision.report.verdicts import Verdict, judge

SPLIT: Split = "test"
JPEG_QUALITY = 85
# A picture is shown at most so many times as high as wide.
TALLEST = 2.0
# On the picture of a mask's errors, which page.css names alike: pan that the mask lacks, and mask that is not pan.
LACKING, SURPLUS = (226, 64, 52), (250, 200, 40)
# A caption lists at most so many faults.
MOST_FAULTS = 4


@dataclass(frozen=True)
class Shot:
    """One picture of a gallery.

    Attributes:
        file: its path below `<data.root>/<task>`.
        truth: the picture with the truth of its task, a JPEG as data URI.
        prediction: the picture with all that the model says, of one of the worst with what it says of its task,
            likewise.
        errors: the picture in grey with where its mask is wrong, likewise; "" where that was not asked for.
        width, height: of all of them in pixels.
        verdict: how they compare.
        kinds: the kinds of its faults.
        faults: the gravest of them.
        more: faults that are not listed.
    """

    file: str
    truth: str
    prediction: str
    errors: str
    width: int
    height: int
    verdict: Verdict
    kinds: Sequence[FaultKind] = ()
    faults: Sequence[Fault] = ()
    more: int = 0


@dataclass(frozen=True)
class Gallery:
    """Some pictures of one task's test split; `available` is how many that split has."""

    available: int
    shots: list[Shot]


@dataclass(frozen=True)
class HeldOut:
    """One task's test pictures and the model that answers them.

    Attributes:
        predictor: the model.
        packed: the packed set.
        rows: of the test split.
        data: where the raw pictures lie and how large they may be.
    """

    predictor: Predictor
    packed: PackedSet
    rows: npt.NDArray[np.int64]
    data: DataSettings

    @classmethod
    def open(
        cls, predictor: Predictor, task: Dataset, *, prepared: Path, splits: Path, data: DataSettings
    ) -> "HeldOut":
        """Find a task's test pictures.

        Raises:
            PackedError: the packed set or the splits cannot be used.
        """
        packed = open_packed(prepared / task, task)
        return cls(predictor, packed, read_splits(splits, task, packed.files)[SPLIT], data)

    def spread(self, count: int, width: int) -> Gallery:
        """At most `count` pictures, evenly over the split, `width` pixels wide.

        Raises:
            PackedError: the raw data are no longer those that were packed.
            ImageError: a raw picture or mask cannot be read.
        """
        return Gallery(len(self.rows), [self._shot(row, width) for row in spread(self.rows, count)])

    def worst(self, faulty: Sequence[Faulty], count: int, width: int) -> list[Shot]:
        """The first `count` of pictures with faults.

        Raises:
            ReportError: the test split has no such picture.
            PackedError, ImageError: as `spread`.
        """
        rows = {self.packed.files[row]: row for row in self.rows.tolist()}
        strange = [each.file for each in faulty if each.file not in rows]
        if strange:
            raise ReportError(f"{strange[0]}: in the per-image results, but no test picture; run `dvc repro` again")
        return [self._shot(rows[each.file], width, each) for each in faulty[:count]]

    def _shot(self, row: int, width: int, faulty: Faulty | None = None) -> Shot:
        folder = Path(self.data.root) / self.packed.task
        image = read_raw_image(self.packed, row, folder, max_pixels=self.data.max_pixels)
        truth, result = _truth(folder, self.packed, row), self.predictor.predict(image)
        size = _shown_size(image, width)
        # Shrunk before drawing, so that lines and letters stay sharp.
        shown = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))
        true, found = _scaled(truth, size, image), _scaled(result, size, image)
        if faulty is not None:
            # Answers to other questions would hide what is wrong with this one.
            found = {part: found[part] for part in true}
        errors = faulty is not None and "segmentation" in truth
        faults = faulty.faults if faulty else []
        return Shot(
            file=self.packed.files[row],
            truth=jpeg_uri(draw_result(shown, true), JPEG_QUALITY),
            prediction=jpeg_uri(draw_result(shown, found), JPEG_QUALITY),
            errors=jpeg_uri(_errors(shown, true, found), JPEG_QUALITY) if errors else "",
            width=size[0],
            height=size[1],
            verdict=judge(truth, result),
            kinds=faulty.kinds if faulty else (),
            faults=faults[:MOST_FAULTS],
            more=max(0, len(faults) - MOST_FAULTS),
        )


def _truth(folder: Path, packed: PackedSet, row: int) -> dict[str, Any]:
    """The part of a result that the set's task has, from its labels."""
    truth: dict[str, Any] = {}
    if packed.mask_files is not None:
        truth["segmentation"] = {"mask": read_raw_mask(packed, row, folder) * np.uint8(255)}
    if packed.boxes is not None and packed.labels is not None:
        labels: list[int] = packed.labels[row].tolist()
        truth["detection"] = {
            "boxes": packed.boxes[row].tolist(),
            "labels": labels,
            "class_names": [packed.classes[label] for label in labels],
        }
    if packed.states is not None:
        truth["classification"] = {"class_name": packed.classes[int(packed.states[row])]}
    return truth


def _shown_size(image: RgbArray, width: int) -> tuple[int, int]:
    height, wide = image.shape[:2]
    scale = min(width / wide, TALLEST * width / height)
    return max(1, round(wide * scale)), max(1, round(height * scale))


def _errors(shown: RgbArray, true: Mapping[str, Any], found: Mapping[str, Any]) -> RgbArray:
    """A picture in grey with the pixels in which both masks differ in colour."""
    truth, mask = (part["segmentation"]["mask"] != 0 for part in (true, found))
    grey = np.asarray(Image.fromarray(shown).convert("L").convert("RGB")).copy()
    grey[truth & ~mask] = LACKING
    grey[mask & ~truth] = SURPLUS
    return grey


def _scaled(result: Mapping[str, Any] | Result, size: tuple[int, int], image: RgbArray) -> dict[str, Any]:
    """A result or truth of `image` for a copy of (width, height) `size`."""
    scaled = dict(result)
    if "segmentation" in result:
        mask = Image.fromarray(result["segmentation"]["mask"]).resize(size, Image.Resampling.NEAREST)
        scaled["segmentation"] = {"mask": np.asarray(mask)}
    if "detection" in result:
        factors = (size[0] / image.shape[1], size[1] / image.shape[0]) * 2
        boxes = [
            [edge * factor for edge, factor in zip(box, factors, strict=True)] for box in result["detection"]["boxes"]
        ]
        scaled["detection"] = {**result["detection"], "boxes": boxes}
    return scaled
