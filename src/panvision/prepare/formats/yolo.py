"""YOLO's text labels, one file per image, one object per line, as Ultralytics and Roboflow write them.

Format: https://docs.ultralytics.com/datasets/detect/ and /segment/. A line is `class x y width height` (the box's
centre first) or `class x1 y1 x2 y2 x3 y3 …` (an outline), in fractions of the image's sides. A file is in `labels/`,
under the path of its image in `images/`, or beside its image. `data.yaml`, `classes.txt`, `labels.txt` or Darknet's
`obj.names`, beside the part or above it, names the classes.

An empty file says that the image shows nothing. Ultralytics treats a missing file the same way; here it is reported
and its image is left out: a forgotten label, trained and tested as background, costs more than one image.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import isfinite
from pathlib import Path
from typing import Any, Literal

import yaml

from panvision.core.tasks import Dataset
from panvision.dataset.paths import relative
from panvision.dataset.problems import Problem, problem
from panvision.prepare.formats.annotated import Contents, Found, Shape, read_paired, unused_classes
from panvision.prepare.formats.documents import Claim, Document, Format, Scan
from panvision.prepare.formats.layout import list_folder
from panvision.prepare.formats.parsing import is_name, read_text, to_float

_NAME_FILES = ("classes.txt", "labels.txt", "names.txt", "obj.names", "_darknet.labels")
# Text files that list classes or images, or describe the dataset.
_NO_LABELS = frozenset({"classes", "labels", "names", "train", "valid", "val", "test", "requirements", "license"})
# Fractions of an image's side are never larger, even if a box reaches out of it; pixels nearly always are.
_LARGEST_FRACTION = 2.0


@dataclass(frozen=True)
class _Names:
    """The classes of one part.

    Attributes:
        file: the file that names them.
        names: class number → name.
        key_points: numbers after each box, if the labels are for poses.
        problems: the faults that were found.
    """

    file: str
    names: dict[int, str] = field(default_factory=dict)
    key_points: int = 0
    problems: list[Problem] = field(default_factory=list)


def _find(scan: Scan) -> list[Document]:
    """Pick label files; those beside the images only if they have an image's name or hold a label."""
    return [
        document for document in scan.documents[".txt"] if scan.own_images(document) or _may_be_label(document, scan)
    ]


def _read(claims: list[Claim], task: Dataset) -> Found:
    """Read every part's labels; classes are in the order of their numbers, joined by name."""
    found = Found()
    used: set[str] = set()
    names_files: dict[str, list[str]] = {}
    for claim in claims:
        names = _find_names(claim.scan)
        # The class of a mask does not matter, so its name need not be known.
        found.problems.extend(fault for fault in names.problems if task == "detection" or names.names)
        if task == "detection" and not names.names:
            continue
        ordered = [names.names[number] for number in sorted(names.names)]
        found.classes.extend(name for name in ordered if name not in found.classes)
        names_files.setdefault(names.file, ordered)
        part = read_paired([claim], lambda _: "", _contents(claim.scan, names), by_name=False)
        found.images.extend(part.images)
        found.problems.extend(part.problems)
        used.update(part.classes)
    found.problems[:] = _counted_once(found.problems)
    if task == "detection":
        for file, ordered in names_files.items():
            found.problems.extend(unused_classes(ordered, used, file))
    return found


def _counted_once(problems: list[Problem]) -> list[Problem]:
    """Join the lines that are not in fractions: they are one fault of the export."""
    wrong = [fault for fault in problems if fault.code == "boxes_other_form"]
    if len(wrong) < 2:
        return problems
    joined = replace(wrong[0], reason=f"{wrong[0].reason}, and so are {len(wrong) - 1} more lines")
    return [joined, *(fault for fault in problems if fault.code != "boxes_other_form")]


def _may_be_label(document: Document, scan: Scan) -> bool:
    """True if a text file without an image is a label that lost it."""
    stem = document.path.stem.lower()
    if stem in _NO_LABELS or stem.startswith("readme"):
        return False
    if document.path.relative_to(scan.part.folder).parts[0].lower() == "labels":
        return True
    content = read_text(document.path, scan.root)
    values = content.split("\n", 1)[0].split() if isinstance(content, str) else []
    return len(values) >= 5 and all(isfinite(to_float(value)) for value in values)


def _contents(scan: Scan, names: _Names) -> Callable[[Document], Contents]:
    """Return the function that reads a label file of one part."""

    def contents(document: Document) -> Contents:
        text = read_text(document.path, scan.root)
        if not isinstance(text, str):
            return Contents(problems=[text], usable=False)
        shapes, problems = _shapes(text, document.file, names)
        return Contents(shapes, problems=problems, relative=True)

    return contents


def _shapes(content: str, file: str, names: _Names) -> tuple[list[Shape], list[Problem]]:
    shapes: list[Shape] = []
    problems: list[Problem] = []
    for number, line in enumerate(content.splitlines(), start=1):
        values = [to_float(word) for word in line.split()]
        if not values:
            continue
        kind = _kind(values, names.key_points)
        if kind == "neither":
            reason = f"line {number} is neither `class x y width height` nor an outline: {line.strip()[:60]!r}"
            problems.append(problem("annotation_broken", file, reason))
        elif max(abs(value) for value in values[1:]) > _LARGEST_FRACTION:
            reason = f"line {number} is in pixels or percent, not in fractions of the sides: {line.strip()[:60]!r}"
            problems.append(problem("boxes_other_form", file, reason))
        elif names.names and values[0] not in names.names:
            reason = f"line {number}: class {int(values[0])} is none of the {len(names.names)} in {names.file}"
            problems.append(problem("annotation_unknown_category", file, reason))
        else:
            name, call = names.names.get(int(values[0]), str(int(values[0]))), f"in line {number}"
            x, y, width, height = values[1:5]
            box = (x - width / 2, y - height / 2, width, height)
            outline = tuple(values[1:])
            shapes.append(Shape(name, call, xywh=box) if kind == "box" else Shape(name, call, polygons=(outline,)))
    return shapes, problems


def _kind(values: list[float], key_points: int) -> Literal["box", "outline", "neither"]:
    """Return the meaning of a line's numbers, which include the class number."""
    count = len(values) - 1
    if count < 4 or not all(isfinite(value) for value in values) or not values[0].is_integer():
        return "neither"
    if count == 4 or (key_points and count == 4 + key_points):
        return "box"
    return "outline" if count % 2 == 0 else "neither"


def _find_names(scan: Scan) -> _Names:
    """Read the classes of a part from the nearest folder that names them: the part's, the labels', the dataset's."""
    labels = [document.path.parent for document in scan.documents[".txt"]]
    for folder in dict.fromkeys((scan.part.folder, scan.part.images, *labels, scan.root)):
        files = list_folder(folder, scan.root).files
        found = [names for path in files if (names := _read_names(path, scan.root))]
        usual = [names for names in found if Path(names.file).stem.lower() == "data"]
        found = usual or found
        if len(found) > 1 and any(names.names != found[0].names for names in found):
            others = " and ".join(names.file for names in found)
            return _Names(
                found[0].file, problems=[problem("annotations_twice", found[0].file, f"{others} name classes")]
            )
        if found:
            return found[0]
    file = relative(scan.part.folder / "data.yaml", scan.root)
    return _Names(
        file, problems=[problem("class_names_missing", file, f"is absent, and so are {', '.join(_NAME_FILES)}")]
    )


def class_names(path: Path, root: Path) -> dict[int, str]:
    """Return the classes in a file by number; empty if it has none that can be read.

    Args:
        path: a data.yaml or a list of names.
        root: the dataset's folder.
    """
    names = _read_names(path, root)
    return names.names if names else {}


def _read_names(path: Path, root: Path) -> _Names | None:
    """Read the classes that a file names; None if it does not name any."""
    file = relative(path, root)
    is_list = path.name.lower() in _NAME_FILES or path.suffix.lower() == ".names"
    if not is_list and path.suffix.lower() not in (".yaml", ".yml"):
        return None
    content = read_text(path, root)
    if not isinstance(content, str):
        return _Names(file, problems=[content])
    if is_list:
        return _checked(file, [line.strip() for line in content.rstrip().splitlines()], {})
    try:
        # Every scalar stays text, so that a class may be called `no` or `1e3`.
        value = yaml.load(content, Loader=yaml.BaseLoader)  # noqa: S506
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        reason = f"is not readable YAML: {' '.join(str(error).split())[:200] or type(error).__name__}"
        broken = _Names(file, problems=[problem("annotations_broken", file, reason)])
        return broken if path.stem.lower() == "data" else None
    return _checked(file, value["names"], value) if isinstance(value, dict) and "names" in value else None


def _checked(file: str, given: Any, settings: dict[str, Any]) -> _Names:
    """Check class names, a list or by number, and the other settings of data.yaml."""
    pairs = given.items() if isinstance(given, dict) else enumerate(given) if isinstance(given, list) else ()
    numbers = {str(number): name for number, name in pairs}
    if not numbers or not all(number.isdecimal() and is_name(name) for number, name in numbers.items()):
        reason = "does not name its classes one by one, as a list or by number"
        return _Names(file, problems=[problem("annotations_incomplete", file, reason)])
    names = {int(number): name for number, name in numbers.items()}
    problems = [
        problem("category_name_twice", file, f"{count} classes have the name {name!r}")
        for name, count in Counter(names.values()).items()
        if count > 1
    ]
    stated = settings.get("nc", str(len(names)))
    if stated != str(len(names)):
        problems.append(problem("annotations_incomplete", file, f"names {len(names)} classes, but nc is {stated}"))
    shape = settings.get("kpt_shape")
    sides = [to_float(side) for side in shape] if isinstance(shape, list) and len(shape) == 2 else [0.0, 0.0]
    points = sides[0] * sides[1]
    return _Names(file, names, int(points) if isfinite(points) else 0, problems)


YOLO = Format("YOLO text", (".txt",), per_image=True, find=_find, read=_read)
