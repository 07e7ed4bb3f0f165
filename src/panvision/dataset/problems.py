"""What can be wrong with raw data: every code with its severity and what to do about it."""

import csv
from collections.abc import Iterable
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Literal

from panvision.core.files import write_rows

Severity = Literal["error", "warning", "fixed"]

COLUMNS = ("code", "severity", "file", "reason", "remedy")

# `error` stops the pipeline in validate, `warning` is reported, `fixed` was repaired in the packed copy.
CATALOGUE: dict[str, tuple[Severity, str]] = {
    # files
    "name_unreadable": ("error", "use plain characters in the name"),
    "names_clash": ("warning", "rename one of them: other systems take the two names for one"),
    "hidden_file": ("warning", "remove the file, or rename it if it belongs to the set"),
    "foreign_file": ("warning", "remove the file, or convert it to JPEG or PNG"),
    "nested_folder": ("warning", "move its images one level up, or remove the folder"),
    "set_unusable": ("error", "bring the set into one of these forms"),
    "layout_mixed": (
        "warning",
        "keep one layout: what lies beside split folders is not read; these are called train, valid (or val) and test",
    ),
    "link_escapes": ("error", "put the file itself in the set: what lies outside it is not versioned with it"),
    "link_broken": ("error", "remove the link, or put the file itself in its place"),
    "not_permitted": ("error", "give yourself the right to read it (chmod u+r, for a folder u+rx)"),
    # images
    "image_missing": ("error", "add the image, or remove it from the annotations"),
    "image_empty": ("error", "copy the image again, or remove it with its labels"),
    "image_truncated": ("error", "copy the image again, or remove it with its labels"),
    "image_undecodable": ("error", "export the image again, or remove it with its labels"),
    "image_too_large": ("error", "shrink the image, or raise data.max_pixels if the size is meant"),
    "image_tiny": ("warning", "use the original picture, or remove it; data.min_side is the limit"),
    "image_blank": ("warning", "remove the picture if the camera was covered or failed"),
    "image_animated": ("warning", "save the frame that is meant as a picture of its own: the first one is used"),
    "extension_wrong": ("warning", "name the file by its format"),
    "exif_rotated": ("fixed", "nothing, if the labels were drawn on the upright picture"),
    "mode_converted": ("fixed", "nothing; the packed copy is 8-bit RGB"),
    # segmentation
    "stem_twice": ("error", "rename one of the images and its labels"),
    "mask_missing": ("error", "add the mask (all black for an image without a pan), or remove the image"),
    "mask_twice": ("error", "keep one mask per image"),
    "mask_undecodable": ("error", "export the mask again"),
    "mask_size": ("error", "export the mask at the size of its image"),
    "mask_rotated": ("fixed", "nothing; the mask was drawn on the picture before its EXIF rotation"),
    "mask_orphaned": ("warning", "add the image, or remove the mask"),
    "mask_name_differs": ("fixed", "nothing; the names of image and mask differ in case or in Unicode form only"),
    "mask_empty": ("warning", "nothing, if the picture shows no pan"),
    "mask_full": ("warning", "check the mask: everything in the picture is pan"),
    "mask_not_binary": ("warning", "export masks as PNG with two values"),
    "mask_inverted": ("warning", "check the mask: it marks the border and leaves out what lies in the middle"),
    "masks_drawn": ("fixed", "nothing; masks were drawn from the annotated outlines"),
    # annotation files
    "annotations_missing": (
        "error",
        "put the annotations (COCO, YOLO, Pascal VOC, LabelMe or CVAT) beside the images or into the folder above",
    ),
    "annotations_twice": ("error", "keep one annotations file, in one format"),
    "annotations_broken": ("error", "export the annotations again"),
    "annotations_incomplete": ("error", "export the annotations again: something that every entry needs is missing"),
    "annotation_file_orphaned": ("warning", "add the image, or remove its annotations"),
    "class_names_missing": ("error", "add the file that names the classes (YOLO: data.yaml or classes.txt)"),
    "category_id_twice": ("error", "give each category an id of its own, the same in all files"),
    "category_name_twice": ("error", "give each category a name of its own, the same in all files"),
    "class_names_alike": ("warning", "give the class one name, unless two are meant"),
    "root_category_dropped": ("fixed", "nothing; Roboflow writes an empty category above the real ones"),
    "class_unused": ("warning", "label some, or remove the category"),
    "path_escapes": ("error", "write the image's name relative to the images' folder, without `..`"),
    "image_id_twice": ("error", "give each image an id of its own"),
    "image_listed_twice": ("error", "keep one entry per image"),
    "image_unlisted": ("warning", "list the image (without boxes if it shows nothing), or remove it"),
    "image_size": ("error", "export images and annotations together: they are of different versions"),
    "image_size_swapped": ("error", "correct width and height: they stand in each other's place"),
    "boxes_scaled": ("warning", "check the labels: they were drawn on a picture of another size"),
    "boxes_rotated": ("fixed", "nothing; the boxes were drawn on the picture before its EXIF rotation"),
    "annotation_broken": ("error", "correct the annotation, or remove it"),
    "annotation_id_twice": ("warning", "give each annotation its own id"),
    "annotation_unknown_image": ("error", "add the image's entry, or remove the annotation"),
    "annotation_unknown_category": ("error", "add the category, or remove the annotation"),
    "crowd_dropped": ("warning", "box the objects one by one, or leave the crowd out"),
    "outline_broken": ("error", "draw the outline again: three points or more, finite numbers"),
    "box_from_outline": ("fixed", "nothing; the box is the one around the outline"),
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
    "label_conflict_near": ("warning", "look at both: copies of one photo bear different classes"),
    # copies and splits
    "copies_in_set": ("fixed", "nothing; copies of one photo, or photos of one burst, were kept in one split"),
    "copies_across_sets": ("fixed", "nothing; what belongs together was kept in one split in all sets"),
    "split_leak": ("warning", "move the copies into one split"),
    "split_empty": (
        "error",
        "add images of other scenes, pin some there (split.pins), change split.seed, split.val or split.test, or lower "
        "split.folds, or where one burst holds them split.burst_seconds",
    ),
    "split_uneven": (
        "warning",
        "pin the large group to train (split.pins), try another split.seed or split.method: balanced, or lower "
        "split.burst_seconds if other photos were taken for one burst",
    ),
    "split_topped_up": ("fixed", "nothing; pin the split (split.pins) to keep it when images are added"),
    "class_absent": ("warning", "add images of the class from other photo sessions"),
    "group_moved": (
        "warning",
        "nothing, if a new link made its images one group; else correct the pin, or move the image",
    ),
    "pin_unknown": ("warning", "remove the line from the pins, or add the image again"),
    "own_split_pooled": ("warning", "nothing; with split.folds the sets' own train, valid and test are dealt out anew"),
    # labels worth a second look
    "box_unusual_size": ("warning", "look at the box: the others of its class are of another size"),
    "box_unusual_place": ("warning", "look at the box: the others of its class lie elsewhere"),
    "boxes_duplicated": ("warning", "remove one of the boxes, if they mark one object"),
    "neighbours_disagree": ("warning", "look at the picture: those that look most like it bear another class"),
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
    # Python 3.11's csv.writer leaves a carriage return unquoted, and its reader takes that for the end of a line.
    file, reason = (text.replace("\r", "\\r") for text in (file, reason))
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
