"""Test pictures with what the model says beside what is true."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from panvision.inference.drawing import draw_result
from panvision.inference.predictor import Predictor
from panvision.inference.results import Result
from panvision.ingest.packed import PackedSet, Split, Task, open_packed, read_splits
from panvision.ingest.raw import read_raw_image, read_raw_mask
from panvision.ingest.settings import DataSettings
from panvision.pixels import RgbArray
from panvision.report.settings import ReportSettings
from panvision.report.thumbnails import jpeg_uri, spread
from panvision.report.verdicts import Verdict, judge

SPLIT: Split = "test"
JPEG_QUALITY = 85
# A picture is shown at most so many times as high as wide.
TALLEST = 2.0


@dataclass(frozen=True)
class Shot:
    """One picture of a gallery.

    Attributes:
        file: its path below `<data.root>/<task>`.
        truth: the picture with the truth of its task, a JPEG as data URI.
        prediction: the picture with all that the model says, likewise.
        width, height: of both in pixels.
        verdict: how they compare.
    """

    file: str
    truth: str
    prediction: str
    width: int
    height: int
    verdict: Verdict


@dataclass(frozen=True)
class Gallery:
    """Some pictures of one task's test split; `available` is how many that split has."""

    available: int
    shots: list[Shot]


def draw_gallery(
    predictor: Predictor,
    task: Task,
    *,
    prepared: Path,
    splits: Path,
    data: DataSettings,
    settings: ReportSettings,
) -> Gallery:
    """Draw a task's test pictures, spread evenly over the split.

    Raises:
        PackedError: the packed set or the splits cannot be used, or the raw data are no longer those that were packed.
        ImageError: a raw picture or mask cannot be read.
    """
    packed = open_packed(prepared / task, task)
    rows = read_splits(splits, task, packed.files)[SPLIT]
    folder = Path(data.root) / task
    shots = []
    for row in spread(rows, settings.images):
        image = read_raw_image(packed, row, folder, max_pixels=data.max_pixels)
        result = predictor.predict(image)
        shots.append(_shot(packed.files[row], image, _truth(folder, packed, row), result, width=settings.width))
    return Gallery(len(rows), shots)


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


def _shot(file: str, image: RgbArray, truth: dict[str, Any], result: Result, *, width: int) -> Shot:
    height, wide = image.shape[:2]
    scale = min(width / wide, TALLEST * width / height)
    size = (max(1, round(wide * scale)), max(1, round(height * scale)))
    # Shrunk before drawing, so that lines and letters stay sharp.
    shown = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))
    return Shot(
        file=file,
        truth=jpeg_uri(draw_result(shown, _scaled(truth, size, image)), JPEG_QUALITY),
        prediction=jpeg_uri(draw_result(shown, _scaled(result, size, image)), JPEG_QUALITY),
        width=size[0],
        height=size[1],
        verdict=judge(truth, result),
    )


def _scaled(result: Mapping[str, Any], size: tuple[int, int], image: RgbArray) -> dict[str, Any]:
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
