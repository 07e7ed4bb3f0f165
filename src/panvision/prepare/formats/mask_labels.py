"""Files that name the labels in masks: which number or colour means what.

CVAT writes `labelmap.txt` (`name:r,g,b:parts:actions`) or CamVid's `label_colors.txt` (`r g b name`), Roboflow
`_classes.csv` (pixel value, class), LabelMe's labelme2voc `class_names.txt` (a line per number, from 0), nnU-Net
`dataset.json`, Hugging Face `id2label.json`, Supervisely `obj_class_to_machine_color.json`, others `class_dict.csv`
(name, r, g, b).
"""

import csv
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from panvision.dataset.problems import Problem, problem
from panvision.photos.masks import Color, LabelTable
from panvision.prepare.formats.layout import list_folder
from panvision.prepare.formats.parsing import is_name, read_text

Names = dict[int | Color, str]
PanClasses = tuple[str, ...] | str | None

_NUMBER = re.compile("[0-9]{1,9}")
# Labels that a message lists.
_SHOWN = 8


def read_table(folders: Iterable[Path], root: Path, pan_classes: PanClasses) -> tuple[LabelTable | None, list[Problem]]:
    """Return the meaning of the labels in masks, if a file or the params state it, and the problems of the file.

    Args:
        folders: where the file may be, the nearest first.
        root: the dataset's folder.
        pan_classes: `data.pan_classes`.
    """
    names: Names = {}
    problems: list[Problem] = []
    for folder in folders:
        for path in list_folder(folder, root).files if not names else []:
            parse = _FILES.get(path.name.lower())
            if parse is None or names:
                continue
            content = read_text(path, root)
            if isinstance(content, str):
                names = {key: name for key, name in parse(content) if is_name(name)}
            else:
                problems.append(content)
    listed = isinstance(pan_classes, tuple)
    if not names and not listed:
        return None, problems
    return LabelTable(names, frozenset(pan_classes) if isinstance(pan_classes, tuple) else None), problems


def list_counts(counts: Counter[str], noun: str = "masks") -> str:
    """List labels and the number of masks or outlines that have them, the most frequent first."""
    shown = [f"{label} ({count} {noun})" for label, count in counts.most_common(_SHOWN)]
    more = len(counts) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")


def unknown_pan(absent: Iterable[str], counts: Counter[str], file: str, noun: str = "masks") -> Problem:
    """Return the problem of classes in `data.pan_classes` that no mask or outline has."""
    found = list_counts(counts, noun) or "none"
    reason = f"data.pan_classes names {', '.join(sorted(absent))}, which no label has; found: {found}"
    return problem("pan_unknown", file, reason)


def _labelmap(content: str) -> Iterator[tuple[int | Color, str]]:
    for line in content.splitlines():
        if found := re.match(r"([^:#][^:]*):\s*([0-9]{1,3})\s*,\s*([0-9]{1,3})\s*,\s*([0-9]{1,3})", line.strip()):
            yield _colour(found.groups()[1:]), found[1].strip()


def _label_colors(content: str) -> Iterator[tuple[int | Color, str]]:
    for line in content.splitlines():
        if found := re.match(r"([0-9]{1,3})[\s,]+([0-9]{1,3})[\s,]+([0-9]{1,3})[\s,]+(\S.*)", line.strip()):
            yield _colour(found.groups()[:3]), found[4].strip()


def _lines(content: str) -> Iterator[tuple[int | Color, str]]:
    lines = [line.strip() for line in content.rstrip().splitlines()]
    # labelme2voc numbers `__ignore__`, the first line of its labels.txt, as -1.
    first = -1 if lines and lines[0] == "__ignore__" else 0
    yield from ((number, name) for number, name in enumerate(lines, first) if number >= 0)


def _labels_txt(content: str) -> Iterator[tuple[int | Color, str]]:
    # Other files of this name list the classes of YOLO.
    return _lines(content) if content.startswith("__ignore__") else iter(())


def _table(content: str) -> Iterator[tuple[int | Color, str]]:
    """Read `Pixel Value, Class` or `name, r, g, b`."""
    try:
        rows = [[cell.strip() for cell in row] for row in csv.reader(content.splitlines())]
    except csv.Error:
        return
    for row in rows:
        if len(row) == 2 and _NUMBER.fullmatch(row[0]):
            yield int(row[0]), row[1]
        elif len(row) == 4 and all(map(_NUMBER.fullmatch, row[1:])):
            yield _colour(row[1:]), row[0]


def _json(content: str) -> Iterator[tuple[int | Color, str]]:
    """Read name → number or colour, or number → name, also below `labels`."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return
    given: Any = value.get("labels", value) if isinstance(value, dict) else None
    numbered = isinstance(given, dict) and sorted(map(str, given.values())) == sorted(map(str, range(len(given))))
    for key, other in given.items() if isinstance(given, dict) else ():
        if numbered and isinstance(other, int):
            yield other, key
        elif isinstance(other, str) and _NUMBER.fullmatch(key):
            yield int(key), other
        elif isinstance(other, list) and len(other) == 3 and all(isinstance(part, int) for part in other):
            yield tuple(other), key


def _colour(parts: Sequence[str]) -> Color:
    return tuple(int(part) for part in parts)


_FILES: dict[str, Callable[[str], Iterator[tuple[int | Color, str]]]] = {
    "labelmap.txt": _labelmap,
    "label_colors.txt": _label_colors,
    "class_names.txt": _lines,
    "labels.txt": _labels_txt,
    "_classes.csv": _table,
    "class_dict.csv": _table,
    "dataset.json": _json,
    "id2label.json": _json,
    "obj_class_to_machine_color.json": _json,
}
