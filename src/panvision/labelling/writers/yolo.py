"""YOLO text: a line per box, or per polygon. Format: https://docs.ultralytics.com/datasets/detect/ and /segment/.

`classes.txt` repeats the names of `data.yaml` for Label Studio's converter. The format has no confidence.
"""

from collections.abc import Sequence
from pathlib import Path

import yaml

from panvision.core.tasks import Dataset
from panvision.labelling.labels import Classes, Labels, Marked
from panvision.labelling.writers.writer import File, Writer, WriterError, beside

# Fractions of a side: 1e-8 of 100,000 pixels is a thousandth of one.
_DIGITS = 8


def _whole(task: Dataset, images: Sequence[Labels], classes: Classes) -> list[File]:
    names = classes.of(task)
    settings = {"train": "images", "val": "images", "nc": len(names), "names": list(names)}
    return [
        ("data.yaml", yaml.safe_dump(settings, allow_unicode=True, sort_keys=False).encode()),
        ("classes.txt", "".join(f"{name}\n" for name in names).encode()),
        # Numbers need the names, which only this function has.
        *((beside("labels", labels, ".txt"), _lines(task, labels, names)) for labels in images),
    ]


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


def _check(folder: Path, task: Dataset, classes: Classes) -> None:
    """Refuse a folder whose classes have other numbers."""
    path, names = folder / "data.yaml", list(classes.of(task))
    if not path.is_file():
        return
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))["names"]
        found = [found[number] for number in sorted(found)] if isinstance(found, dict) else list(found)
    except (yaml.YAMLError, UnicodeError, KeyError, TypeError) as error:
        raise WriterError(f"{path}: no list `names` of classes; choose another folder with --into") from error
    if found[: len(names)] != names:
        raise WriterError(
            f"{path}: labels there number the classes {', '.join(map(str, found))}, those of the model are "
            f"{', '.join(names)}; choose another folder with --into"
        )


WRITER = Writer(("segmentation", "detection"), whole=_whole, check=_check)
