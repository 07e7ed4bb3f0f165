"""Problems of raw data: the table of codes with severity and remedy, and the file that lists what was found."""

from collections.abc import Iterable
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Literal

from panvision.dataset.packed import read_table
from panvision.dataset.tables import write_table

Severity = Literal["error", "warning", "fixed"]

COLUMNS = ("code", "severity", "file", "reason", "remedy")

# `error` stops the pipeline in validate, `warning` is reported, `fixed` was repaired in the packed copy.
CATALOGUE: dict[str, tuple[Severity, str]] = {
    # files
    "name_unreadable": ("error", "use plain characters in the name"),
    "names_clash": ("warning", "rename one of them: other file systems treat the two names as one"),
    "hidden_file": ("warning", "remove the file, or rename it if it belongs to the dataset"),
    "foreign_file": ("warning", "remove the file, or convert it to JPEG or PNG"),
    "nested_folder": ("warning", "move its images one level up, or remove the folder"),
    "set_unusable": ("error", "arrange the dataset in one of these layouts"),
    "set_missing": ("error", "add the dataset, or leave its task out of `tasks`, for example tasks: [detection]"),
    "layout_mixed": (
        "warning",
        "keep one layout: nothing beside the split folders (train, valid or val, test) is read",
    ),
    "link_escapes": ("error", "put the file itself into the dataset: files outside it are not versioned with it"),
    "link_broken": ("error", "remove the link, or put the file itself in its place"),
    "not_permitted": ("error", "make it readable (chmod u+r, for a folder u+rx)"),
    # images
    "image_missing": ("error", "add the image, or remove it from the annotations"),
    "image_empty": ("error", "copy the image again, or remove it with its labels"),
    "image_truncated": ("error", "copy the image again, or remove it with its labels"),
    "image_undecodable": ("error", "export the image again, or remove it with its labels"),
    "image_too_large": ("error", "shrink the image, or raise data.max_pixels if the size is intended"),
    "image_tiny": ("warning", "use the original image, or remove it; data.min_side is the limit"),
    "image_blank": ("warning", "remove the image if the camera was covered or failed"),
    "image_animated": ("warning", "save the intended frame as a separate image: the first one is used"),
    "extension_wrong": ("warning", "name the file by its format"),
    "exif_rotated": ("fixed", "nothing, if the labels were drawn on the upright image"),
    "mode_converted": ("fixed", "nothing; the packed copy is 8-bit RGB"),
    # segmentation
    "stem_twice": ("error", "rename one of the images and its labels"),
    "mask_missing": ("error", "add the mask (all black for an image without a pan), or remove the image"),
    "mask_twice": ("error", "keep one mask per image"),
    "mask_undecodable": ("error", "export the mask again"),
    "mask_size": ("error", "export the mask at the size of its image"),
    "mask_rotated": ("fixed", "nothing; the mask was drawn on the image before its EXIF rotation"),
    "mask_orphaned": ("warning", "add the image, or remove the mask"),
    "mask_name_differs": ("fixed", "nothing; the names of image and mask differ only in case or in Unicode form"),
    "mask_empty": ("warning", "nothing, if the image shows no pan"),
    "mask_full": ("warning", "check the mask: it marks the whole image as pan"),
    "mask_not_binary": ("warning", "export masks as PNG with two values"),
    "mask_inverted": ("warning", "check the mask: it marks the border and leaves out the middle"),
    "masks_alike": ("error", "export the masks again, with the pan in another value than the background"),
    "mask_void": ("warning", "nothing, if these pixels show no pan"),
    "pan_unclear": ("error", "list the labels that are the pan in data.pan_classes, for example [pan], or say all"),
    "pan_unknown": ("error", "correct data.pan_classes: the classes or labels that are the pan, or all"),
    "masks_drawn": ("fixed", "nothing; masks were drawn from the annotated outlines"),
    # annotation files
    "annotations_missing": (
        "error",
        "put the annotations (COCO, YOLO, Pascal VOC, LabelMe or CVAT) beside the images or into the folder above",
    ),
    "annotations_unread": ("error", "export the labels as COCO, YOLO, Pascal VOC, LabelMe or CVAT XML"),
    "annotations_twice": ("error", "keep one annotations file, in one format"),
    "annotations_broken": ("error", "export the annotations again"),
    "annotations_incomplete": ("error", "export the annotations again: required values are missing"),
    "annotation_file_orphaned": ("warning", "add the image, or remove its annotations"),
    "class_names_missing": ("error", "add the file that names the classes (YOLO: data.yaml or classes.txt)"),
    "category_id_twice": ("error", "give each category its own id, the same in all files"),
    "category_name_twice": ("error", "give each category its own name, the same in all files"),
    "class_names_alike": ("warning", "use one name for the class, unless two classes are intended"),
    "root_category_dropped": ("fixed", "nothing; Roboflow writes an empty category above the real ones"),
    "class_unused": ("warning", "label some, or remove the category"),
    "path_escapes": ("error", "write the image's name relative to the images' folder, without `..`"),
    "image_id_twice": ("error", "give each image its own id"),
    "image_listed_twice": ("error", "keep one entry per image"),
    "image_unlisted": ("warning", "list the image (without boxes if it shows nothing), or remove it"),
    "image_size": ("error", "export images and annotations together: they are of different versions"),
    "image_size_swapped": ("error", "swap width and height in the annotations"),
    "boxes_scaled": ("warning", "check the labels: they were drawn on an image of another size"),
    "boxes_rotated": ("fixed", "nothing; the boxes were drawn on the image before its EXIF rotation"),
    "rotation_unclear": ("warning", "check the labels on this image, or save it upright without EXIF rotation"),
    "annotation_broken": ("error", "correct the annotation, or remove it"),
    "annotation_id_twice": ("warning", "give each annotation its own id"),
    "annotation_unknown_image": ("error", "add the image's entry, or remove the annotation"),
    "annotation_unknown_category": ("error", "add the category, or remove the annotation"),
    "crowds_only": ("error", "write iscrowd 0 for annotations that mark one object"),
    "crowds_used": ("warning", "check the boxes: each was taken for one object, not for a crowd"),
    "crowd_ignored": ("fixed", "nothing; what is found on a crowd is neither right nor wrong"),
    "outline_broken": ("error", "draw the outline again: three points or more, finite numbers"),
    "box_from_outline": ("fixed", "nothing; the box is the one around the outline"),
    "box_not_finite": ("error", "correct the box: four finite numbers x, y, width, height"),
    "box_negative": ("error", "correct the box: width and height must not be negative"),
    "box_zero_area": ("warning", "draw the box again, or remove it"),
    "box_outside": ("warning", "draw the box again, or remove it"),
    "box_clipped": ("fixed", "nothing; the part of the box outside the image was cut off"),
    "boxes_other_form": (
        "error",
        "export the labels again: COCO has x, y, width, height in pixels, Pascal VOC two corners in pixels, YOLO "
        "centre, width, height as fractions",
    ),
    "boxes_none": (
        "error",
        "export the labels again, with boxes (a tool may drop masks and outlines), or leave detection out of `tasks`",
    ),
    "classes_too_many": ("error", "join classes: this many are often file names or ids that were read as classes"),
    # classification
    "class_empty": ("warning", "add images, or remove the folder"),
    "class_placeholder": ("warning", "move the images into class folders, or remove the folder"),
    "class_single_image": ("warning", "add images: one image cannot be both in train and in test"),
    "image_without_class": ("warning", "move the image into a class folder"),
    "class_alone": ("warning", "add images of other classes: a classifier needs at least two"),
    "order_unfit": ("error", "set classification.order to auto, to null, or to a list of each class label once"),
    "label_conflict": ("error", "keep the image in one class"),
    "label_conflict_near": ("warning", "check both: copies of one photo have different classes"),
    # copies and splits
    "copies_in_set": (
        "fixed",
        "nothing; copies of one photo, photos of one burst or frames of one video were kept in one split",
    ),
    "copies_across_sets": ("fixed", "nothing; related images were kept in one split in all datasets"),
    "frames_torn": (
        "warning",
        "add images of other scenes, or pin later parts of the video to val and test (split.pins): scores are too good",
    ),
    "split_leak": ("warning", "move the copies into one split"),
    "split_lists_read": ("fixed", "nothing; remove the lists if `validate` is to make the split"),
    "split_lists_overlap": ("warning", "list each image once; test counts before val, and val before train"),
    "split_list_unknown": ("warning", "add the images, or remove their lines"),
    "split_list_incomplete": ("warning", "list the images; until then chance decides, and they may be tested on"),
    "split_empty": (
        "error",
        "add images of other scenes, pin some there (split.pins), change split.seed, split.val or split.test, or lower "
        "split.folds or split.burst_seconds",
    ),
    "split_uneven": (
        "warning",
        "pin the large group to train (split.pins), try another split.seed or split.method: balanced, or lower "
        "split.burst_seconds if separate photos were joined as one burst",
    ),
    "split_small": (
        "warning",
        "try another split.seed or split.method: balanced, or pin images there (split.pins): a metric of few images "
        "says little",
    ),
    "split_topped_up": ("fixed", "nothing; pin the split (split.pins) to keep it when images are added"),
    "class_absent": ("warning", "add images of the class from other photo sessions"),
    "group_moved": (
        "warning",
        "nothing, if a new link joined its images into one group; else correct the pin, or move the image",
    ),
    "pin_unknown": ("warning", "remove the line from the pins, or add the image again"),
    "own_split_pooled": ("warning", "nothing; with split.folds the datasets' own train, valid and test are pooled"),
    # suspicious labels
    "box_unusual_size": ("warning", "check the box: the other boxes of its class have another size"),
    "box_unusual_place": ("warning", "check the box: the other boxes of its class are elsewhere"),
    "boxes_duplicated": ("warning", "remove one of the boxes if they mark one object"),
    "boxes_off_grid": (
        "fixed",
        "nothing, if they are few: each is learned at the nearest location only; else raise data.image_size",
    ),
    "neighbours_disagree": ("warning", "check the label: the most similar images have another class"),
}


class IngestError(ValueError):
    """Raw data that cannot be used; the message names every file, the reason and the remedy.

    Attributes:
        problems: those of the dataset, if it could be read.
    """

    def __init__(self, message: str, problems: "Iterable[Problem]" = ()) -> None:
        super().__init__(message)
        self.problems = list(problems)


@dataclass(frozen=True, order=True)
class Problem:
    """One finding about raw data; `file` is a path below the dataset's folder, or the folder itself."""

    code: str
    severity: Severity
    file: str
    reason: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.severity}: {self.file}: {self.reason} [{self.code}]; {self.remedy}"


def problem(code: str, file: str, reason: str, severity: Severity | None = None) -> Problem:
    """Make a problem of the catalogue; give `severity` only if a param decides it."""
    usual, remedy = CATALOGUE[code]
    # Python 3.11's csv.writer, which pandas uses, leaves a carriage return unquoted; readers take it for a line's end.
    file, reason = (text.replace("\r", "\\r") for text in (file, reason))
    return Problem(code, severity or usual, file, reason, remedy)


def write_problems(path: Path, problems: Iterable[Problem]) -> None:
    """Write problems.csv, sorted."""
    write_table(path, COLUMNS, [astuple(found) for found in sorted(set(problems))])


def read_problems(path: Path) -> list[Problem]:
    """Read what `write_problems` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        KeyError, ValueError: it is damaged.
    """
    return [Problem(*row) for row in read_table(path, COLUMNS).itertuples(index=False, name=None)]


def describe(problems: Iterable[Problem], *, limit: int = 50, more: str = "") -> str:
    """Return one line for each of the first `limit` problems; `more` says where to find the rest."""
    ordered = sorted(set(problems))
    lines = [str(found) for found in ordered[:limit]]
    if len(ordered) > limit:
        lines.append(f"and {len(ordered) - limit} more{more}")
    return "\n".join(lines)
