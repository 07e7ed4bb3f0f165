"""YOLO text: a line per box, or per polygon. Format: https://docs.ultralytics.com/datasets/detect/ and /segment/.

`classes.txt` repeats the names of `data.yaml` for Label Studio's converter. The format has no confidence.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import takewhile
from pathlib import Path

import yaml

from panvision.core.tasks import Dataset
from panvision.labelling.labels import Classes, Labels, Marked
from panvision.labelling.writers.writer import File, Writer, WriterError, beside
from panvision.prepare.formats.yolo import YOLO, class_names

# Fractions of a side: 1e-8 of 100,000 pixels is a thousandth of one.
_DIGITS = 8
_SETTINGS, _LIST = "data.yaml", "classes.txt"


def _whole(task: Dataset, images: Sequence[Labels], classes: Classes) -> list[File]:
    names = classes.of(task)
    return [
        (_SETTINGS, _settings(names)),
        (_LIST, "".join(f"{name}\n" for name in names).encode()),
        # Numbers need the names, which only this function has.
        *((beside("labels", labels, ".txt"), _lines(task, labels, names)) for labels in images),
    ]


def _settings(names: Sequence[str]) -> bytes:
    settings = {"train": "images", "val": "images", "nc": len(names), "names": list(names)}
    return yaml.safe_dump(settings, allow_unicode=True, sort_keys=False).encode()


def _lines(task: Dataset, labels: Labels, names: Sequence[str]) -> bytes:
    lines = [f"{names.index(one.name)} {shape}\n" for one in labels.marked(task) for shape in _shapes(one, labels.size)]
    return "".join(lines).encode()


def _shapes(one: Marked, size: tuple[int, int]) -> list[str]:
    left, top, right, bottom = one.box
    box = ((left + right) / 2, (top + bottom) / 2, right - left, bottom - top)
    return [
        " ".join(f"{value / size[place % 2]:.{_DIGITS}g}" for place, value in enumerate(values))
        for values in (one.polygons or (box,))
    ]


def _check(folder: Path, task: Dataset, classes: Classes, _names: Collection[str]) -> None:
    """Refuse a folder whose classes have other numbers."""
    path = next((folder / file for file in (_SETTINGS, _LIST) if (folder / file).is_file()), None)
    if path is None:
        return
    found, names = class_names(path, folder), classes.of(task)
    if not found:
        raise WriterError(f"{path}: no list `names` of classes; choose another folder with --into")
    if any(found.get(number) != name for number, name in enumerate(names)):
        raise WriterError(
            f"{path}: labels there number the classes {', '.join(map(str, found.values()))}, those of the model are "
            f"{', '.join(names)}; choose another folder with --into"
        )


def _extend(folder: Path, task: Dataset, classes: Classes) -> Classes:
    """Add the names of a person, or of an earlier model, if the first are the same: labels there have their numbers."""
    names = classes.of(task)
    for file in (_SETTINGS, _LIST):
        found = class_names(folder / file, folder) if (folder / file).is_file() else {}
        more = tuple(found[number] for number in takewhile(found.__contains__, range(len(found))))
        names = more if more[: len(names)] == names else names
    return replace(classes, **{task: names})


WRITER = Writer(("segmentation", "detection"), YOLO.name, whole=_whole, check=_check, extend=_extend)
