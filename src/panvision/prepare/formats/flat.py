"""Classes of images in one folder: in a table, or as LabelMe's flags.

Tables are CSV: Roboflow's `_classes.csv` with a column of 0 and 1 for each class, or any table with a column of file
names and one of class names. LabelMe writes the flags of an image into its JSON file: the true one is its class.
"""

import csv
import posixpath
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from panvision.dataset.paths import relative
from panvision.dataset.problems import Problem, problem
from panvision.photos.pixels import IMAGE_SUFFIXES
from panvision.prepare.formats.documents import scan_part
from panvision.prepare.formats.layout import Part, Reading, Sample, list_folder, list_images, split_name
from panvision.prepare.formats.parsing import is_name, read_text

# Names of columns, without spaces, hyphens and underscores.
_FILES = (
    "filename",
    "file",
    "filepath",
    "path",
    "image",
    "imagename",
    "imagefile",
    "imagepath",
    "imageid",
    "img",
    "id",
    "name",
)
_CLASSES = ("label", "class", "classname", "labels", "category", "target", "state", "tag")
_SPLITS = ("split", "set", "subset", "dataset", "partition")
# A table with such a column has boxes.
_BOXES = frozenset({"xmin", "x1", "bbox", "xmax"})
_TRUE, _FALSE = frozenset({"1", "1.0", "true"}), frozenset({"0", "0.0", "false", ""})

# Names for images without a label, without spaces, hyphens and underscores: CVAT's folder is `no_label`.
_PLACEHOLDERS = frozenset(
    {
        *("nolabel", "nolabels", "unlabeled", "unlabelled", "notlabeled", "notlabelled", "withoutlabel"),
        *("untagged", "notag", "unannotated", "notannotated", "unsorted", "unassigned", "todo"),
    }
)


@dataclass(frozen=True)
class _Table:
    """Labels by file.

    Attributes:
        file: the table, or the folder of the files.
        labels: the classes that each image has, by the name in the table.
        splits: the split of images that the table states.
        classes: all that it declares.
    """

    file: str
    labels: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    splits: dict[str, str] = field(default_factory=dict)
    classes: list[str] = field(default_factory=list)


def is_placeholder(name: str) -> bool:
    """True if a class's name means that the image has no label yet."""
    return _plain(name) in _PLACEHOLDERS


def placeholder(file: str, count: int) -> Problem:
    """Return the problem of images without a label; `file` is their folder or table."""
    reason = f"is for images without a label, not a class; its {count} images are left out"
    return problem("class_placeholder", file, reason)


def read_flat(part: Part, root: Path) -> Reading | None:
    """Read the classes of a part's images from a table or from LabelMe's files; None if there are none."""
    images, problems = list_images(part.images, root)
    folders = list(dict.fromkeys((part.images, part.folder, root)))
    table = _find_table(folders, root) or _flags(part, root)
    if table is None:
        return None
    by_name: dict[str, Path] = {}
    for path in images:
        forms = (relative(path, folder) for folder in folders if path.is_relative_to(folder))
        by_name |= dict.fromkeys((*forms, path.stem), path)
    # A table above the parts lists the images of all of them.
    shared = bool(part.split) and (root / table.file).parent == root
    given: dict[Path, list[str]] = defaultdict(list)
    splits: dict[Path, str] = {}
    for name, labels in table.labels.items():
        plain = posixpath.normpath(name.replace("\\", "/"))
        found = by_name.get(plain) or by_name.get(posixpath.basename(plain))
        if found is not None:
            given[found] += labels
            splits[found] = part.split or table.splits.get(name, "")
        elif not shared:
            problems.append(problem("image_missing", table.file, f"lists {name!r}, which is absent"))
    samples: list[Sample] = []
    without: Counter[str] = Counter()
    for path, labels in given.items():
        label, *others = dict.fromkeys(labels) or [""]
        if others:
            reason = f"{path.name!r} has several classes: {', '.join([label, *others])[:200]}"
            problems.append(problem("annotation_broken", table.file, reason))
        elif not label or is_placeholder(label):
            without[label] += 1
        else:
            samples.append(Sample(relative(path, root), splits[path], path.name, label=label))
    problems += [placeholder(table.file, count) for name, count in without.items() if name]
    if without[""]:
        problems.append(problem("image_without_class", table.file, f"gives no class to {without['']} images"))
    reason = f"is not listed in {table.file}"
    problems += [problem("image_unlisted", relative(path, root), reason) for path in images if path not in given]
    return Reading(samples, [name for name in table.classes if not is_placeholder(name)], problems)


def _find_table(folders: Sequence[Path], root: Path) -> _Table | None:
    """Return the first table with classes: `_classes.csv`, `labels.csv`, and then any other."""
    for folder in folders:
        paths = [path for path in list_folder(folder, root).files if path.suffix.lower() in (".csv", ".tsv")]
        for path in sorted(paths, key=lambda path: (path.name != "_classes.csv", path.name.lower() != "labels.csv")):
            content = read_text(path, root)
            if isinstance(content, str) and (table := _parse(content, relative(path, root))):
                return table
    return None


def _rows(content: str) -> list[list[str]]:
    """Return the cells of a table of two columns or more; [] for anything else."""
    first = content.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    try:
        rows = [[cell.strip() for cell in row] for row in csv.reader(content.splitlines(), delimiter=delimiter) if row]
    except csv.Error:
        return []
    return [row for row in rows if len(row) == len(rows[0]) > 1]


def _parse(content: str, file: str) -> _Table | None:
    """Read a table; None if it has no classes."""
    rows = _rows(content)
    if not rows:
        return None
    header = [_plain(cell) for cell in rows[0]]
    if len(header) == 2 and Path(rows[0][0]).suffix.lower() in IMAGE_SUFFIXES:
        # Without a header.
        return _filled(file, ((row, row[1:2]) for row in rows), 0, None)
    names = [header.index(name) for name in _FILES if name in header]
    classes = [header.index(name) for name in _CLASSES if name in header]
    splits = [header.index(name) for name in _SPLITS if name in header]
    if not names or _BOXES & set(header):
        return None
    place, body = names[0], rows[1:]
    if classes:
        return _filled(file, ((row, [row[classes[0]]]) for row in body), place, splits[0] if splits else None)
    marks = [column for column in range(len(header)) if column != place and column not in splits]
    if not marks or not all(row[column].lower() in _TRUE | _FALSE for row in body for column in marks):
        return None
    marked = ((row, [rows[0][column] for column in marks if row[column].lower() in _TRUE]) for row in body)
    table = _filled(file, marked, place, splits[0] if splits else None)
    table.classes[:] = [rows[0][column] for column in marks]
    return table


def _filled(file: str, rows: Iterable[tuple[list[str], list[str]]], place: int, split: int | None) -> _Table:
    table = _Table(file)
    for row, labels in rows:
        table.labels[row[place]] += [label for label in labels if is_name(label)]
        if split is not None:
            table.splits[row[place]] = split_name(row[split])
    table.classes.extend(sorted({label for labels in table.labels.values() for label in labels}))
    return table


def _flags(part: Part, root: Path) -> _Table | None:
    """Read the flags in LabelMe's files; None if no file has any."""
    scan = scan_part(part, root, {".json"})
    table = _Table(relative(part.images, root))
    for document in scan.documents[".json"]:
        images = scan.own_images(document)
        flags = document.content.get("flags") if isinstance(document.content, dict) else None
        if images and isinstance(flags, dict) and flags:
            true = [name for name, value in flags.items() if value is True and is_name(name)]
            table.labels[relative(images[0], part.images)] += true
            table.classes.extend(name for name in flags if name not in table.classes and is_name(name))
    return table if table.labels else None


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", name.lower())
