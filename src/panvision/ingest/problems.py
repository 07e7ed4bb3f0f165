"""What can be wrong with raw data: every code with its severity and what to do about it."""

import csv
from collections.abc import Iterable
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Literal

from panvision.files import write_rows

Severity = Literal["error", "warning", "fixed"]

COLUMNS = ("code", "severity", "file", "reason", "remedy")

# `error` stops the pipeline in validate, `warning` is reported, `fixed` was repaired in the packed copy.
CATALOGUE: dict[str, tuple[Severity, str]] = {
    # images
    "image_unreadable": ("error", "export the image again, or remove it with its labels"),
    "image_too_large": ("error", "shrink the image, or raise data.max_pixels if the size is meant"),
    "exif_rotated": ("fixed", "nothing, if the labels were drawn on the upright picture"),
    "nested_folder": ("warning", "move its images one level up, or remove the folder"),
    "foreign_file": ("warning", "remove the file, or convert it to JPEG or PNG"),
    "name_unreadable": ("error", "use plain characters in the name"),
    "layout_mixed": ("warning", "keep one layout: images beside split folders are not read"),
    # segmentation
    "stem_twice": ("error", "rename one of the images and its mask"),
    "mask_missing": ("error", "add the mask (all black for an image without a pan), or remove the image"),
    "mask_twice": ("error", "keep one mask per image"),
    "mask_unreadable": ("error", "export the mask again"),
    "mask_size": ("error", "export the mask at the size of its image"),
    "mask_rotated": ("fixed", "nothing; the mask was drawn on the picture before its EXIF rotation"),
    "mask_orphaned": ("warning", "add the image, or remove the mask"),
    "mask_empty": ("warning", "nothing, if the picture shows no pan"),
    "mask_full": ("warning", "check the mask: everything in the picture is pan"),
    "mask_not_binary": ("warning", "export masks as PNG with two values"),
    # detection
    "annotations_missing": ("error", "put _annotations.coco.json beside the images or into the folder above"),
    "annotations_twice": ("error", "keep one _annotations.coco.json"),
    "annotations_broken": ("error", "export the annotations again as COCO JSON"),
    "categories_conflict": ("error", "give each category one id and one name in all files"),
    "root_category_dropped": ("fixed", "nothing; Roboflow writes an empty category above the real ones"),
    "class_unused": ("warning", "label some, or remove the category"),
    "path_escapes": ("error", "write file_name relative to the images' folder, without `..`"),
    "image_missing": ("error", "add the image, or remove it from the annotations"),
    "image_listed_twice": ("error", "keep one entry per image"),
    "image_unlisted": ("warning", "list the image (without boxes if it shows nothing), or remove it"),
    "image_size": ("error", "export images and annotations together: they are of different versions"),
    "boxes_scaled": ("warning", "check the boxes: they were drawn on a picture of another size"),
    "boxes_rotated": ("fixed", "nothing; the boxes were drawn on the picture before its EXIF rotation"),
    "annotation_broken": ("error", "correct the annotation, or remove it"),
    "annotation_id_twice": ("warning", "give each annotation its own id"),
    "annotation_unknown_image": ("error", "add the image's entry, or remove the annotation"),
    "annotation_unknown_category": ("error", "add the category, or remove the annotation"),
    "crowd_dropped": ("warning", "box the objects one by one, or leave the crowd out"),
    "box_not_finite": ("error", "correct the box: four finite numbers x, y, width, height"),
    "box_negative": ("error", "correct the box: width and height must not be negative"),
    "box_zero_area": ("warning", "draw the box again, or remove it"),
    "box_outside": ("warning", "draw the box again, or remove it"),
    "box_clipped": ("fixed", "nothing; the part of the box outside the picture was cut off"),
    # classification
    "class_empty": ("warning", "add images, or remove the folder: it is no class"),
    "class_single_image": ("warning", "add images: one cannot be both learned and tested"),
    "image_without_class": ("warning", "move the image into a class folder"),
    "label_conflict": ("error", "keep the picture in one class"),
    # splits
    "split_leak": ("warning", "move the copies into one split"),
    "class_absent": ("warning", "add images of the class from other photo sessions"),
}


class IngestError(ValueError):
    """Raw data that cannot be used; the message names every file, the reason and the remedy."""


@dataclass(frozen=True, order=True)
class Problem:
    """One thing that is wrong: `file` is a path below the task's folder (or the folder itself)."""

    code: str
    severity: Severity
    file: str
    reason: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.severity}: {self.file}: {self.reason} [{self.code}]; {self.remedy}"


def problem(code: str, file: str, reason: str, severity: Severity | None = None) -> Problem:
    """A problem of the catalogue; `severity` only where a param decides it."""
    usual, remedy = CATALOGUE[code]
    return Problem(code, severity or usual, file, reason, remedy)


def write_problems(path: Path, problems: Iterable[Problem]) -> None:
    """Write problems.csv, sorted."""
    write_rows(path, COLUMNS, [astuple(found) for found in sorted(set(problems))])


def read_problems(path: Path) -> list[Problem]:
    """Read what `write_problems` wrote."""
    with path.open(encoding="utf-8", newline="") as stream:
        return [
            Problem(row["code"], _severity(row["severity"]), row["file"], row["reason"], row["remedy"])
            for row in csv.DictReader(stream)
        ]


def describe(problems: Iterable[Problem], *, limit: int = 50, more: str = "") -> str:
    """One line a problem, the first `limit` of them; `more` says where the rest can be read."""
    ordered = sorted(set(problems))
    lines = [str(found) for found in ordered[:limit]]
    if len(ordered) > limit:
        lines.append(f"and {len(ordered) - limit} more{more}")
    return "\n".join(lines)


def _severity(text: str) -> Severity:
    if text == "error":
        return "error"
    return "fixed" if text == "fixed" else "warning"
