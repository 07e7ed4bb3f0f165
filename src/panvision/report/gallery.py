"""Test images with predictions next to the truth: some spread over the split, and the worst."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from panvision.core.tasks import TASKS, Task
from panvision.dataset.packed import PackedSet
from panvision.evaluation.results import Predictions, Results, decode_heat, decode_mask
from panvision.photos.drawing import draw_result
from panvision.photos.heat import one_box, overlay_heat
from panvision.photos.pixels import RgbArray
from panvision.photos.raw import read_raw_image
from panvision.photos.settings import DataSettings
from panvision.photos.truth import read_truth
from panvision.report.inputs import ReportError
from panvision.report.mistakes import (
    Kind,
    Mistake,
    Mistakes,
    Verdict,
    first_of_each_kind,
    in_order,
    percent,
    rank_images,
)
from panvision.report.table import SECTIONS
from panvision.report.thumbnails import area_uri, jpeg_uri, spread

JPEG_QUALITY = 85
# Largest ratio of height to width of a shown image.
TALLEST = 2.0
# Colours of a mask's errors, as in page.css: pan without mask, and mask without pan.
LACKING, SURPLUS = (226, 64, 52), (250, 200, 40)
# A caption lists at most this number of mistakes.
MOST_MISTAKES = 4

# Task → its part of a result; the truth has the same form.
Parts = Mapping[str, Any]


@dataclass(frozen=True)
class Shot:
    """One image of a gallery.

    Attributes:
        file: its path below `<data.root>/<dataset>`.
        truth: the image with its labels, a JPEG as data URI; a mask is an outline.
        prediction: the image with the whole result, or for one of the worst images with the part that has a truth.
        true_area, predicted_area: the areas of both masks to draw over them, a PNG as data URI; "" without a mask.
        errors: the image in grey with the pixels where its mask is wrong; "" without.
        explanation: the image in grey with an activation map; "" without.
        explained: what the map explains, for example `golden 92%`.
        width, height: of all of them in pixels.
        verdict: caption.
        kinds: kinds of its mistakes.
        mistakes: the most important mistakes.
        more: number of further mistakes.
    """

    file: str
    truth: str
    prediction: str
    true_area: str
    predicted_area: str
    errors: str
    explanation: str
    explained: str
    width: int
    height: int
    verdict: Verdict
    kinds: Sequence[Kind] = ()
    mistakes: Sequence[Mistake] = ()
    more: int = 0


@dataclass(frozen=True)
class Gallery:
    """Images of one task's test split; `available` is the number of images of that split."""

    available: int
    shots: list[Shot]


@dataclass(frozen=True)
class Worst:
    """The worst test images of a task.

    Attributes:
        mistaken: the images with mistakes, the worst first.
        shots: some of them.
    """

    mistaken: list[Mistakes]
    shots: list[Shot]

    @property
    def groups(self) -> list[tuple[Kind, int, list[Shot]]]:
        """Return the shots by the most important mistake of each, and the number of images with it."""
        counts = Counter(each.kinds[0] for each in self.mistaken)
        shots = {kind: [shot for shot in self.shots if shot.kinds[0] == kind] for kind in in_order(counts)}
        return [(kind, counts[kind], own) for kind, own in shots.items() if own]


class GallerySource:
    """The test images of one task.

    Args:
        task: which.
        results: its per-image results.
        predictions: the whole result of each image.
        packed: the task's dataset.
        data: location of the raw images and largest size of an image.

    Raises:
        ReportError: the results are of images that the dataset does not have, or without a prediction.
    """

    def __init__(
        self, task: Task, results: Results, predictions: Predictions, packed: PackedSet, data: DataSettings
    ) -> None:
        self._section, self._results, self._packed, self._data = SECTIONS[task], results, packed, data
        dataset = TASKS[task].dataset
        self._parts: dict[str, Parts] = {
            each["file"]: each["result"] for each in predictions.images if each["dataset"] == dataset
        }
        self._rows = {file: row for row, file in enumerate(packed.files)}
        for image in results.images:
            if image["file"] not in self._rows or image["file"] not in self._parts:
                raise ReportError(f"{image['file']}: in the per-image results of {task} only; run `dvc repro` again")

    def spread(self, count: int, width: int) -> Gallery:
        """Draw at most `count` images, evenly spread over the split, `width` pixels wide.

        Raises:
            PackedError: the raw data are no longer those that were packed.
            ImageError: a raw image or mask cannot be read.
        """
        images = self._results.images
        return Gallery(len(images), [self._draw(images[row], width) for row in spread(np.arange(len(images)), count)])

    def worst(self, count: int, width: int) -> Worst:
        """Draw `count` images: the worst one of each kind of mistake, then the second one of each, and so on.

        Raises:
            PackedError, ImageError: as `spread`.
        """
        images = self._results.images
        mistaken = rank_images([self._section.mistakes(image, self._results) for image in images])
        by_file = {image["file"]: image for image in images}
        chosen = sorted(first_of_each_kind(mistaken)[:count], key=mistaken.index)
        return Worst(mistaken, [self._draw(by_file[each.file], width, each) for each in chosen])

    def chosen(self, files: Sequence[str], width: int) -> list[Shot]:
        """Draw the images of some files of the results, with the part of the result that has a truth.

        Raises:
            PackedError, ImageError: as `spread`.
        """
        by_file = {image["file"]: image for image in self._results.images}
        return [self._draw(by_file[file], width, Mistakes(file, 0.0, [])) for file in files]

    def _draw(self, record: Mapping[str, Any], width: int, mistakes: Mistakes | None = None) -> Shot:
        row, file = self._rows[record["file"]], record["file"]
        folder = Path(self._data.root) / self._packed.task
        image = read_raw_image(self._packed, row, folder, max_pixels=self._data.max_pixels)
        truth, found = _truth_parts(self._packed, row, folder), _decoded(self._parts[file])
        size = _shown_size(image, width)
        # Resized before drawing, so that lines and letters stay sharp.
        shown = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))
        true, found = _scaled(truth, size, image), _scaled(found, size, image)
        if mistakes is not None:
            # Other parts would hide the mistake.
            found = {task: found[task] for task in true if task in found}
        errors = mistakes is not None and self._section.errors
        heated, explained = _explained(shown, record, found) if mistakes and mistakes.mistakes else (None, "")
        listed = mistakes.mistakes if mistakes else []
        return Shot(
            file=file,
            truth=jpeg_uri(draw_result(shown, true, fill=False), JPEG_QUALITY),
            prediction=jpeg_uri(draw_result(shown, found, fill=False), JPEG_QUALITY),
            true_area=_area(true),
            predicted_area=_area(found),
            errors=jpeg_uri(_errors(shown, true, found), JPEG_QUALITY) if errors else "",
            explanation="" if heated is None else jpeg_uri(heated, JPEG_QUALITY),
            explained=explained,
            width=size[0],
            height=size[1],
            verdict=self._section.verdict(record, self._results),
            kinds=mistakes.kinds if mistakes else (),
            mistakes=listed[:MOST_MISTAKES],
            more=max(0, len(listed) - MOST_MISTAKES),
        )


def _truth_parts(packed: PackedSet, row: int, folder: Path) -> dict[str, Any]:
    """The labels of an image as the part of a result that `draw_result` draws."""
    truth = read_truth(packed, row, folder)
    if packed.task == "detection":
        labels: list[int] = truth["labels"].tolist()
        names = [packed.classes[label] for label in labels]
        truth = {"boxes": truth["boxes"].tolist(), "labels": labels, "class_names": names}
    elif packed.task == "classification":
        truth = {"class_name": packed.classes[truth["class_idx"]]}
    return {packed.task: truth}


def _decoded(parts: Parts) -> dict[str, Any]:
    """Restore the masks of a stored result."""
    decoded = dict(parts)
    if "segmentation" in parts:
        decoded["segmentation"] = {"mask": decode_mask(parts["segmentation"]["mask"])}
    return decoded


def _shown_size(image: RgbArray, width: int) -> tuple[int, int]:
    height, wide = image.shape[:2]
    scale = min(width / wide, TALLEST * width / height)
    return max(1, round(wide * scale)), max(1, round(height * scale))


def _area(parts: Parts) -> str:
    return area_uri(parts["segmentation"]["mask"]) if "segmentation" in parts else ""


def _errors(shown: RgbArray, true: Parts, found: Parts) -> RgbArray:
    """Colour the pixels in which both masks differ in a grey image."""
    truth, mask = (parts["segmentation"]["mask"] != 0 for parts in (true, found))
    grey = np.asarray(Image.fromarray(shown).convert("L").convert("RGB")).copy()
    grey[truth & ~mask] = LACKING
    grey[mask & ~truth] = SURPLUS
    return grey


def _explained(shown: RgbArray, record: Mapping[str, Any], found: Parts) -> tuple[RgbArray | None, str]:
    """Draw the activation map of an image, and name what it explains; results may have none."""
    explanation = record.get("explanation")
    if explanation is None:
        return None, ""
    heated = overlay_heat(shown, decode_heat(explanation["heat"]))
    if "box" in explanation:
        box = one_box(found["detection"], explanation["box"])
        return draw_result(heated, {"detection": box}), f"{box['class_names'][0]} {box['scores'][0]:.2f}"
    name = found["classification"]["class_name"]
    return heated, f"{name} {percent(found['classification']['probabilities'][name])}"


def _scaled(parts: Parts, size: tuple[int, int], image: RgbArray) -> dict[str, Any]:
    """Scale a result or truth of `image` to a copy of (width, height) `size`."""
    scaled = dict(parts)
    if "segmentation" in parts:
        mask = Image.fromarray(parts["segmentation"]["mask"]).resize(size, Image.Resampling.NEAREST)
        scaled["segmentation"] = {"mask": np.asarray(mask)}
    if "detection" in parts:
        factors = (size[0] / image.shape[1], size[1] / image.shape[0]) * 2
        boxes = [
            [edge * factor for edge, factor in zip(box, factors, strict=True)] for box in parts["detection"]["boxes"]
        ]
        scaled["detection"] = {**parts["detection"], "boxes": boxes}
    return scaled
