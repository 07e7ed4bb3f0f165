"""The two raw layouts, flat and with split folders, translated to one form: parts with images."""

import functools
import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from panvision.core.tasks import Dataset
from panvision.dataset.paths import SPLIT_FOLDERS, fold_name, is_link, leaves_root, relative
from panvision.dataset.problems import Problem, problem
from panvision.photos.masks import LabelTable
from panvision.photos.pixels import IMAGE_SUFFIXES, unread_format

# Folders of images and masks, in lower case, of which the first one counts.
_IMAGE_FOLDERS = ("images", "jpegimages", "image", "img_dir", "imgs", "img")
_MASK_FOLDERS = ("masks",)
# Folders of masks only if they hold images: labelme2voc puts arrays into one of them, and other tools put boxes there.
_POSSIBLE_MASKS = (
    *("segmentationclass", "segmentationclasspng", "mask", "ann_dir", "segmentations", "groundtruth", "ground_truth"),
    *("gt", "labels", "label", "annotations", "annotation"),
)
# Names of folders of masks beside a split's folder of images: `train` and `train_masks`.
_BESIDE = ("{}_masks", "{}_mask", "{}_labels", "{}annot")

# Files that exporters and DVC put beside images.
_COMPANIONS = frozenset({".json", ".csv", ".txt", ".yaml", ".yml", ".xml", ".md", ".dvc", ".names", ".data", ".cache"})
# Files that operating systems leave in folders.
_LITTER = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "@eadir"})
# Hidden files that are expected.
_HIDDEN_TOOLS = frozenset({".git", ".gitignore", ".gitattributes", ".gitkeep", ".dvc", ".dvcignore"})

OUTSIDE = "is a link out of the dataset's folder"
ACCEPTED: dict[Dataset, str] = {
    "segmentation": "images/ and masks/ with the same file stems (or outlines in one of detection's formats)",
    "detection": "images/ and _annotations.coco.json (or labels in YOLO, Pascal VOC, LabelMe or CVAT form)",
    "classification": "images/<class_name>/",
}


@dataclass(frozen=True)
class Part:
    """A folder with images of one split: the dataset's folder itself (split "") or a split folder in it.

    Attributes:
        folder: the folder.
        split: the split that its name means, or "".
        inner: name of the split's folder inside the folders of images and of masks, in that layout.
    """

    folder: Path
    split: str
    inner: str = ""

    @functools.cached_property
    def images(self) -> Path:
        """The folder of the images: `images/`, VOC's `JPEGImages/` or similar, or the folder itself (Roboflow)."""
        return next(_folders_of(self.folder, _IMAGE_FOLDERS), self.folder) / self.inner

    @functools.cached_property
    def masks(self) -> Path | None:
        """The folder of the masks, if there is one: `masks/`, or VOC's or another one that holds images."""
        known = next(_folders_of(self.folder, _MASK_FOLDERS), None)
        possible = (path for path in _folders_of(self.folder, _POSSIBLE_MASKS) if holds_images(path))
        masks = known or next(map(_only_inner, possible), None)
        if masks is None and self.split and not self.inner:
            beside = [name.format(self.folder.name.lower()) for name in _BESIDE]
            return next(_folders_of(self.folder.parent, beside), None)
        if masks is None or not self.inner:
            return masks
        inner = (path for path in _folders_of(masks) if split_name(path.name) == self.split)
        return next(inner, None)


@dataclass(frozen=True, slots=True)
class BoxLabels:
    """The boxes of one image as annotated.

    Attributes:
        size: width and height that the annotations state, if they do.
        xywh: left, top, width, height of each box in pixels; not checked yet, so values may be NaN.
        labels: contiguous class index of each box; `CROWD` less the index for a crowd.
        ids: name of each box in messages: its annotation id, or its line in the file.
        relative: the coordinates are fractions of the image's width and height (YOLO) instead of pixels.
    """

    size: tuple[float, float] | None
    xywh: tuple[tuple[float, float, float, float], ...] = ()
    labels: tuple[int, ...] = ()
    ids: tuple[str, ...] = ()
    relative: bool = False


@dataclass(frozen=True, slots=True)
class RunLengths:
    """A COCO run-length mask: (height, width), and counts as in the file, text or numbers."""

    size: tuple[int, int]
    counts: str | tuple[int, ...]


@dataclass(frozen=True, slots=True)
class OutlineLabels:
    """The pan in one image as annotated outlines, from which prepare draws the mask; all of them together.

    Attributes:
        size: width and height that the annotations state, if they do.
        polygons: x1, y1, x2, y2, … of each closed outline in pixels; at least three points, finite.
        run_lengths: masks of COCO annotations that have no polygons.
        relative: the coordinates are fractions of the image's width and height (YOLO) instead of pixels.
    """

    size: tuple[float, float] | None
    polygons: tuple[tuple[float, ...], ...] = ()
    run_lengths: tuple[RunLengths, ...] = ()
    relative: bool = False


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled image before it is decoded; paths are below the dataset's folder, with forward slashes.

    Attributes:
        file: the image.
        split: `train`, `val`, `test`, or "" if the user gives none.
        name: file name that identifies the photo it was made from.
        label: class name; classification only.
        mask: the mask's file; segmentation only.
        mask_table: the labels in the mask's file, if the dataset or the params name them.
        outlines: instead of a mask's file; segmentation only.
        boxes: detection only.
    """

    file: str
    split: str
    name: str
    label: str = ""
    mask: str = ""
    mask_table: LabelTable | None = None
    outlines: OutlineLabels | None = None
    boxes: BoxLabels | None = None


@dataclass(frozen=True)
class Reading:
    """The result of reading a dataset's folder."""

    samples: list[Sample] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


@dataclass(frozen=True)
class Listing:
    """The readable contents of a folder, by name; everything else is a problem."""

    folders: list[Path] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def list_folder(folder: Path, root: Path) -> Listing:
    """List the readable folders and files in a folder, in order of name.

    Hidden files and litter, names that are not text, broken links, links out of the dataset's folder, and files without
    permission are problems; so are two names that differ only in case or in Unicode form.

    Args:
        folder: the folder, without its sub-folders.
        root: the dataset's folder, to which the problems' paths are relative.
    """
    listing = Listing()
    if leaves_root(folder, root):
        listing.problems.append(problem("link_escapes", relative(folder, root), OUTSIDE))
        return listing
    try:
        paths = sorted(folder.iterdir(), key=lambda path: path.name)
        kinds = _kinds(folder)
    except OSError as error:
        reason = f"cannot be listed: {error.strerror or type(error).__name__}"
        listing.problems.append(problem("not_permitted", relative(folder, root), reason))
        return listing
    for path in paths:
        if not is_readable(path.name):
            listing.problems.append(unreadable(path, root))
        elif _is_hidden(path.name):
            if path.name not in _HIDDEN_TOOLS:
                reason = "is hidden or litter, and not read"
                listing.problems.append(problem("hidden_file", relative(path, root), reason))
        elif (kind := kinds.get(path.name)) is not None:
            (listing.folders if kind == "folder" else listing.files).append(path)
        else:
            _sort_in(path, root, listing)
    listing.problems.extend(_clashes([*listing.folders, *listing.files], root))
    return listing


def _kinds(folder: Path) -> dict[str, Literal["folder", "file"]]:
    """Return the kind of each plain folder and file in a folder, by name, with one system call.

    Links and other things are left out, and everything in a folder whose files may not be looked at.
    """
    kinds: dict[str, Literal["folder", "file"]] = {}
    if os.access(folder, os.X_OK):
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_file(follow_symlinks=False):
                    kinds[entry.name] = "file"
                elif entry.is_dir(follow_symlinks=False):
                    kinds[entry.name] = "folder"
    return kinds


def _sort_in(path: Path, root: Path, listing: Listing) -> None:
    """Add one path to the listing of its folder."""
    file = relative(path, root)
    try:
        kind = path.stat().st_mode
        if is_link(path) and leaves_root(path, root):
            listing.problems.append(problem("link_escapes", file, OUTSIDE))
        elif stat.S_ISDIR(kind):
            listing.folders.append(path)
        elif stat.S_ISREG(kind):
            listing.files.append(path)
        else:
            # Reading a pipe or a device may never end.
            listing.problems.append(problem("foreign_file", file, "is neither a file nor a folder"))
    except OSError as error:
        reason = error.strerror or type(error).__name__
        if is_link(path) and not isinstance(error, PermissionError):
            listing.problems.append(problem("link_broken", file, f"is a link to nothing: {reason}"))
        else:
            listing.problems.append(problem("not_permitted", file, f"cannot be looked at: {reason}"))


def _clashes(paths: list[Path], root: Path) -> list[Problem]:
    """Find names in one folder that other file systems treat as one."""
    first: dict[str, Path] = {}
    problems: list[Problem] = []
    for path in paths:
        other = first.setdefault(fold_name(path.name), path)
        if other is not path:
            reason = f"differs from {other.name} only in case or Unicode form"
            problems.append(problem("names_clash", relative(path, root), reason))
    return problems


def find_parts(root: Path) -> tuple[list[Part], list[Problem]]:
    """Return the split folders of a dataset's folder, or the folder itself if it has none.

    The problems are those of the folders above the images. If these folders hold the images themselves, `list_images`
    finds the same problems again.
    """
    listing = list_folder(root, root)
    parts = [
        Part(path, SPLIT_FOLDERS[path.name.lower()]) for path in listing.folders if path.name.lower() in SPLIT_FOLDERS
    ]
    if not parts:
        return [Part(root, "")], listing.problems
    split_folders = {part.folder for part in parts}
    names = ", ".join(part.folder.name for part in parts)
    loose = [path for path in listing.files if path.suffix.lower() in IMAGE_SUFFIXES]
    masks = {part.masks for part in parts}
    others = [path.name for path in [*listing.folders, *loose] if path not in split_folders | masks]
    problems = [problem("layout_mixed", name, f"is beside the split folders {names}") for name in others]
    for part in parts:
        problems += list_folder(part.folder, root).problems
    return parts, [*listing.problems, *problems]


def list_images(folder: Path, root: Path, *, nested: bool = False) -> tuple[list[Path], list[Problem]]:
    """Return the image files of a folder in order of name, and problems of its other files.

    Args:
        folder: the folder.
        root: the dataset's folder, to which the problems' paths are relative.
        nested: include images in sub-folders, but not in links to folders, which could form a circle; otherwise each
            sub-folder is a problem.
    """
    images: list[Path] = []
    problems: list[Problem] = []
    waiting = [folder]
    while waiting:
        listing = list_folder(waiting.pop(), root)
        problems += listing.problems
        for path in listing.files:
            if path.suffix.lower() in IMAGE_SUFFIXES:
                images.append(path)
            elif path.suffix.lower() not in _COMPANIONS:
                kind = unread_format(path.name)
                reason = f"is {kind}, which is not read" if kind else "is not an image that can be read"
                problems.append(problem("foreign_file", relative(path, root), reason))
        for path in listing.folders:
            if nested and not is_link(path):
                waiting.append(path)
            else:
                kind = "a link to a folder" if is_link(path) else "a folder"
                problems.append(problem("nested_folder", relative(path, root), f"is {kind} among the images"))
    return sorted(images), problems


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in _LITTER


def _folders_of(folder: Path, names: Iterable[str] = ()) -> Iterator[Path]:
    """Yield the folders in a folder: those of the names, which are in lower case, in their order; without names all."""
    try:
        with os.scandir(folder) as entries:
            found = {name.lower(): folder / name for name in sorted(entry.name for entry in entries if entry.is_dir())}
    except OSError:
        # Not permitted: listing the folder says so.
        return
    for name in names or found:
        if name in found:
            yield found[name]


def holds_images(folder: Path) -> bool:
    """True if a folder, or a folder in it, holds an image."""
    folders = (folder, *_folders_of(folder))
    return any(path.suffix.lower() in IMAGE_SUFFIXES for each in folders for path in _entries(each))


def _only_inner(folder: Path) -> Path:
    """Return the one folder in a folder that holds its images, as in `annotations/trimaps`; else the folder itself."""
    inner = [path for path in _folders_of(folder) if holds_images(path)]
    loose = any(path.suffix.lower() in IMAGE_SUFFIXES for path in _entries(folder))
    return inner[0] if len(inner) == 1 and not loose and not split_name(inner[0].name) else folder


def _entries(folder: Path) -> Iterator[Path]:
    try:
        yield from folder.iterdir()
    except OSError:
        return


def split_name(folder: str) -> str:
    """Return the split that a folder's or a subset's name means, or ""; COCO writes `train2017`."""
    return SPLIT_FOLDERS.get(re.sub(r"\d+$", "", folder.lower()), "")


def inner_parts(part: Part, root: Path) -> list[Part]:
    """Return a part for each split folder inside a part's folder of images, if it holds nothing else."""
    listing = list_folder(part.images, root)
    loose = any(path.suffix.lower() in IMAGE_SUFFIXES for path in listing.files)
    names = [path.name for path in listing.folders]
    if part.split or part.images == part.folder or loose or not names or not all(map(split_name, names)):
        return [part]
    return [Part(part.folder, split_name(name), name) for name in names]


def is_readable(name: str) -> bool:
    """True if a file's name can be written into tables, which treat a carriage return as a line's end."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return "\r" not in name


def unreadable(path: Path, root: Path) -> Problem:
    """Return the problem of a name that is not text, or breaks the tables' lines."""
    name = relative(path, root).encode("utf-8", "backslashreplace").decode()
    reason = "holds a carriage return" if "\r" in name else "is not UTF-8"
    return problem("name_unreadable", name, f"has a name that {reason}")
