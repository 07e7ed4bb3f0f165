"""The two raw layouts, flat and with split folders, brought to one form: parts with images."""

from dataclasses import dataclass, field
from pathlib import Path

from panvision.ingest.packed import Task
from panvision.ingest.problems import Problem, problem
from panvision.pixels import IMAGE_SUFFIXES

# Folder names that mean a split; Roboflow writes `valid`.
SPLIT_FOLDERS = {"train": "train", "valid": "val", "val": "val", "validation": "val", "test": "test"}

# What exporters and systems put beside images.
_COMPANIONS = frozenset({".json", ".csv", ".txt", ".yaml", ".yml", ".md"})
_LITTER = frozenset({"thumbs.db", "desktop.ini"})

ACCEPTED: dict[Task, str] = {
    "segmentation": "images/ and masks/ with the same file stems",
    "detection": "images/ and _annotations.coco.json",
    "classification": "images/<class_name>/",
}


@dataclass(frozen=True)
class Part:
    """A folder that holds images of one split: the task's folder itself (split "") or a split folder in it."""

    folder: Path
    split: str

    @property
    def images(self) -> Path:
        """Where the images lie: `images/`, or the folder itself as Roboflow has it."""
        inner = self.folder / "images"
        return inner if inner.is_dir() else self.folder


@dataclass(frozen=True, slots=True)
class BoxLabels:
    """The boxes of one image as the annotations give them.

    Attributes:
        size: width and height that the annotations state, if they do.
        xywh: left, top, width, height of each box in pixels; not yet checked, so NaN and the like may stand here.
        labels: contiguous class index of each box.
        ids: what messages call each box: its annotation id, or its line in the file.
        relative: the coordinates are fractions of the picture's width and height (YOLO) instead of pixels.
    """

    size: tuple[float, float] | None
    xywh: tuple[tuple[float, float, float, float], ...] = ()
    labels: tuple[int, ...] = ()
    ids: tuple[str, ...] = ()
    relative: bool = False


@dataclass(frozen=True, slots=True)
class RunLengths:
    """A COCO run-length mask: (height, width), and counts as the file has them, text or numbers."""

    size: tuple[int, int]
    counts: str | tuple[int, ...]


@dataclass(frozen=True, slots=True)
class OutlineLabels:
    """What is pan in one image as annotated outlines, from which prepare draws the mask; all of them together.

    Attributes:
        size: width and height that the annotations state, if they do.
        polygons: x1, y1, x2, y2, … of each closed outline in pixels; at least three points, finite.
        run_lengths: masks of COCO annotations that have no polygons.
        relative: the coordinates are fractions of the picture's width and height (YOLO) instead of pixels.
    """

    size: tuple[float, float] | None
    polygons: tuple[tuple[float, ...], ...] = ()
    run_lengths: tuple[RunLengths, ...] = ()
    relative: bool = False


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled image before it is decoded; paths are below the task's folder, with forward slashes.

    Attributes:
        file: the image.
        split: `train`, `val`, `test`, or "" if the user gives none.
        name: file name that tells which photo it was made from.
        label: class name; classification only.
        mask: the mask's file; segmentation only.
        outlines: instead of a mask's file; segmentation only.
        boxes: detection only.
    """

    file: str
    split: str
    name: str
    label: str = ""
    mask: str = ""
    outlines: OutlineLabels | None = None
    boxes: BoxLabels | None = None


@dataclass(frozen=True)
class Reading:
    """What a reader found in a task's folder."""

    samples: list[Sample] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def find_parts(root: Path) -> tuple[list[Part], list[Problem]]:
    """The split folders of a task's folder, or the folder itself if it has none."""
    entries = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    parts = [Part(path, SPLIT_FOLDERS[path.name.lower()]) for path in entries if path.name.lower() in SPLIT_FOLDERS]
    if not parts:
        return [Part(root, "")], []
    split_folders = {part.folder for part in parts}
    others = [path.name for path in entries if path not in split_folders]
    names = ", ".join(part.folder.name for part in parts)
    return parts, [problem("layout_mixed", name, f"lies beside the split folders {names}") for name in others]


def list_images(folder: Path, root: Path, *, nested: bool = False) -> tuple[list[Path], list[Problem]]:
    """The image files of a folder in order of name, and what else lies there.

    Args:
        folder: looked through.
        root: the task's folder, to which the problems' paths are relative.
        nested: images in sub-folders count as well; otherwise each sub-folder is a problem.
    """
    images: list[Path] = []
    problems: list[Problem] = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name.lower() in _LITTER:
            continue
        if not is_readable(path):
            problems.append(unreadable(path, root))
        elif path.is_dir():
            if nested:
                inner, faults = list_images(path, root, nested=True)
                images += inner
                problems += faults
            else:
                problems.append(problem("nested_folder", relative(path, root), "is a folder among the images"))
        elif path.suffix.lower() in IMAGE_SUFFIXES:
            images.append(path)
        elif path.suffix.lower() not in _COMPANIONS:
            problems.append(problem("foreign_file", relative(path, root), "is not an image that can be read"))
    return images, problems


def relative(path: Path, root: Path) -> str:
    """A path below `root` with forward slashes."""
    return path.relative_to(root).as_posix()


def is_readable(path: Path) -> bool:
    """Whether a file's name is text; other names cannot be written into tables."""
    try:
        path.name.encode()
    except UnicodeEncodeError:
        return False
    return True


def unreadable(path: Path, root: Path) -> Problem:
    """The problem of a name that is no text."""
    name = relative(path, root).encode("ascii", "backslashreplace").decode()
    return problem("name_unreadable", name, "has a name that is not UTF-8")


def photo_name(name: str) -> tuple[str, bool]:
    """Which photo a file was made from, and whether Roboflow's export says so.

    Roboflow names every augmented copy of `pan.jpg` `pan_jpg.rf.<hash>.jpg`: the photo is `pan_jpg`. Any other
    file is its own photo, named by its stem, which says nothing across folders (`0001` is in every set).
    """
    stem = Path(name).stem
    photo, marker, _ = stem.rpartition(".rf.")
    return (photo, True) if marker and photo else (stem, False)
