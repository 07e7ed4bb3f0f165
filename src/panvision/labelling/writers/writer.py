"""The interface of a format's writer, and what several writers share."""

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree import ElementTree

from panvision.core.tasks import Dataset
from panvision.labelling.labels import Classes, Labels

# Path below the dataset's folder, and content.
File = tuple[str, bytes]

# Digits behind the point of a coordinate in pixels, and of a confidence.
PIXEL_DIGITS, CONFIDENCE_DIGITS = 2, 4
# Characters that some system's file names cannot have.
UNSAFE = frozenset('/\\:*?"<>|')


class WriterError(ValueError):
    """Labels that a format cannot hold; the message says which, and what to do."""


def newest(_path: str, new: bytes, _old: bytes, _exists: Callable[[str], bool]) -> bytes:
    """Return the new content: the file does not list images."""
    return new


def fits_all(*_: object) -> None:
    """Accept any folder of the same form: its labels name their classes."""


def no_more(_folder: Path, _task: Dataset, classes: Classes) -> Classes:
    """Return the classes as they are: the format has no list of them, or `merge` keeps it."""
    return classes


def no_files(*_: object) -> list[File]:
    """Return nothing: the format has no such files."""
    return []


@dataclass(frozen=True)
class Writer:
    """A row of `WRITERS`; paths are below the dataset's folder.

    Attributes:
        tasks: the datasets whose labels the format holds.
        form: its name for the readers (`label_formats`).
        folder: the folder of the images.
        has_folders: classes of whole images are folders in it.
        listing: the file of `whole` that lists all images, if any.
        each: returns the label files of one image.
        whole: returns the label files of all images together; their masks are gone by then.
        check: raises `WriterError` if labels of these classes, or of images of these names, would spoil those in the
            dataset's folder.
        extend: returns the classes with further ones that the dataset's folder numbers after them; called after
            `check`.
        merge: returns a file of `whole` with those images of an earlier one that it lacks and that still exist; called
            with its path, both contents and a function that is true for the name of an image in `images/`.
    """

    tasks: tuple[Dataset, ...]
    form: str
    folder: str = "images"
    has_folders: bool = True
    listing: str = ""
    each: Callable[[Dataset, Labels], list[File]] = no_files
    whole: Callable[[Dataset, Sequence[Labels], Classes], list[File]] = no_files
    check: Callable[[Path, Dataset, Classes, Collection[str]], None] = fits_all
    extend: Callable[[Path, Dataset, Classes], Classes] = no_more
    merge: Callable[[str, bytes, bytes, Callable[[str], bool]], bytes] = newest

    @property
    def has_shapes(self) -> bool:
        """True if the format holds boxes, and masks as polygons."""
        return "detection" in self.tasks

    def sorts(self, task: Dataset) -> bool:
        """True if the folder of an image is its class."""
        return task == "classification" and self.has_folders

    def image(self, task: Dataset, labels: Labels) -> str:
        """Return the path of an image."""
        return f"{self.folder}/{labels.label}/{labels.file}" if self.sorts(task) else f"{self.folder}/{labels.file}"


def beside(folder: str, labels: Labels, suffix: str) -> str:
    """Return the path of an image's label file in a folder."""
    return f"{folder}/{PurePosixPath(labels.file).stem}{suffix}"


def pixels(value: float) -> float:
    """Round a coordinate."""
    return round(float(value), PIXEL_DIGITS)


def sure(value: float) -> float:
    """Round a confidence."""
    return round(float(value), CONFIDENCE_DIGITS)


def json_bytes(value: Any) -> bytes:
    """Return JSON with a final newline."""
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()


def element(parent: ElementTree.Element, tag: str, text: object = None, **attributes: object) -> ElementTree.Element:
    """Add an element with a text and attributes."""
    child = ElementTree.SubElement(parent, tag, {key: str(value) for key, value in attributes.items()})
    child.text = None if text is None else str(text)
    return child


def xml_bytes(root: ElementTree.Element) -> bytes:
    """Return an indented XML document."""
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True) + b"\n"
