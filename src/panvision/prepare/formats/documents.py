"""One part of a dataset: its images, its annotation files, each parsed once, and the formats that read them."""

import posixpath
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from panvision.core.tasks import Dataset
from panvision.dataset.paths import is_link, leaves_root, relative
from panvision.dataset.problems import Problem, problem
from panvision.prepare.formats.layout import (
    OUTSIDE,
    Part,
    is_readable,
    list_folder,
    list_images,
    split_name,
    unreadable,
)
from panvision.prepare.formats.parsing import read_json, read_xml

if TYPE_CHECKING:
    from panvision.prepare.formats.annotated import Found

# Folders beside the images in which tools put their annotation files.
_LABEL_FOLDERS = frozenset(
    {"annotations", "annotation", "ann", "anns", "labels", "label", "json", "jsons", "xml", "xmls", "txt", "labelme"}
)
# Files that Darknet and Ultralytics put beside images.
_COMPANIONS = frozenset({".names", ".data", ".labels", ".cache"})

Pair = tuple["Document", Path]


@dataclass(frozen=True)
class Format:
    """A label format: one module of this folder, and one row of `readers.FORMATS`.

    Attributes:
        name: what messages call it.
        suffixes: of its files, in lower case. `.json` and `.xml` files are parsed before `find` sees them.
        per_image: there is one file for each image; otherwise one file for all images of a part.
        find: picks the files of this format from those of a part. A file that cannot be parsed counts if its name
            belongs to the format.
        read: turns the files of all parts into class names, images with shapes, and problems. It never raises.
    """

    name: str
    suffixes: tuple[str, ...]
    per_image: bool
    find: "Callable[[Scan], list[Document]]"
    read: "Callable[[list[Claim], Dataset], Found]"


@dataclass(frozen=True, slots=True)
class Document:
    """One annotation file.

    Attributes:
        path: the file.
        file: its path below the dataset's folder.
        key: its path below the folder of its kind, without suffix, in NFC: the name of its image.
        content: the JSON value, or the XML's root element; None for other files, and for files that cannot be parsed.
        fault: the reason why it cannot be parsed.
    """

    path: Path
    file: str
    key: str
    content: Any = None
    fault: Problem | None = None


@dataclass(frozen=True)
class Scan:
    """One part of a dataset.

    Attributes:
        root: the dataset's folder.
        part: the part.
        images: all its images, in order of name.
        by_file: its images by path below the dataset's folder, in NFC.
        by_key: its images by path below the images' folder, without suffix, in NFC.
        inner_splits: every image is in a split's folder inside the images' folder, as in Ultralytics' layout.
        documents: by suffix, the files beside the images, above them, or in `annotations/` and `labels/`.
        problems: of the folders.
    """

    root: Path
    part: Part
    images: list[Path]
    by_file: dict[str, Path]
    by_key: dict[str, list[Path]]
    inner_splits: bool
    documents: dict[str, list[Document]]
    problems: list[Problem]

    def split_of(self, path: Path, subset: str = "") -> str:
        """Return an image's split: its part's, else its folder's in `images/`, else that of the subset's name."""
        inner = _inner_split(path, self.part.images) if self.inner_splits else ""
        return self.part.split or inner or split_name(subset)

    def own_images(self, document: Document) -> list[Path]:
        """Return the images with an annotation file's name; several if they differ only in suffix."""
        images = self.by_key.get(document.key, [])
        return [path for path in images if path.stem == document.path.stem] or images

    def locate(self, name: str, source: str, subset: str = "") -> Path | Problem:
        """Find the image that an annotation file lists by name.

        Args:
            name: a path below the images' folder or the part's, with slashes of either kind.
            source: the annotation file, for messages.
            subset: a folder in them that may hold the image as well.
        """
        plain = posixpath.join(relative(self.part.images, self.root), name).removeprefix("./")
        listed = self.by_file.get(_nfc(plain))
        if listed and relative(listed, self.root) == plain:
            return listed
        pure = PurePosixPath(name.replace("\\", "/"))
        absolute = pure.is_absolute() or PureWindowsPath(name).is_absolute()
        if absolute or ".." in pure.parts or "\0" in name:
            return problem("path_escapes", source, f"the file name {name!r} leaves the folder{self._similar(pure)}")
        folders = [self.part.images, self.part.folder]
        folders += [folder / subset for folder in folders] if subset else []
        for path in (folder / form for folder in folders for form in dict.fromkeys((pure, PurePosixPath(name)))):
            found = path if _is_file(path) else self.by_file.get(_nfc(relative(path, self.root)))
            if found and leaves_root(found, self.root):
                return problem("link_escapes", relative(found, self.root), OUTSIDE)
            if found:
                return found if is_readable(relative(found, self.root)) else unreadable(found, self.root)
        absent = f"is listed in {source}, but absent{self._similar(pure)}"
        return problem("image_missing", relative(self.part.images / pure, self.root), absent)

    def _similar(self, listed: PurePosixPath) -> str:
        """Name an image that may be meant: in another folder, case or suffix, or with its name escaped as in a URL."""
        found = self._by_stem.get(_stem(unquote(listed.name)))
        return "" if found is None else f"; there is {relative(found, self.root)}"

    @cached_property
    def _by_stem(self) -> dict[str, Path]:
        return {_stem(path.name): path for path in reversed(self.images)}

    def unlisted(self, listed: Iterable[str], reason: str) -> list[Problem]:
        """Report images that the annotations do not mention: they may show nothing, or were forgotten."""
        known = set(listed)
        files = [relative(path, self.root) for path in self.images]
        return [problem("image_unlisted", file, reason) for file in files if file not in known]


@dataclass(frozen=True)
class Claim:
    """A part whose annotations have one format, and the files that hold them."""

    scan: Scan
    documents: list[Document]

    def pair(self, image_name: Callable[[Document], str], *, by_name: bool) -> tuple[list[Pair], list[Problem]]:
        """Pair annotation files of one image each with their images.

        Args:
            image_name: returns the image's name that a file states, or "".
            by_name: the stated name decides; otherwise the file's own does, if there is one image of that name.

        Returns:
            the pairs; and unreadable files, files without an image, and images without a file.
        """
        pairs: list[Pair] = []
        problems: list[Problem] = []
        listed: set[str] = set()
        for document in self.documents:
            images = self.scan.own_images(document)
            stated = None if document.fault else self._stated(document, image_name(document))
            if stated and (by_name or len(images) != 1):
                images = [stated]
            files = [relative(path, self.scan.root) for path in images]
            listed.update(files)
            if document.fault:
                problems.append(document.fault)
            elif not images:
                problems.append(problem("annotation_file_orphaned", document.file, "has no image"))
            elif len(images) > 1:
                reason = f"shares {document.file} with another image"
                problems += [problem("stem_twice", file, reason) for file in files]
            else:
                pairs.append((document, images[0]))
        reason = "has no label file; an empty one would say that it shows nothing"
        return pairs, [*problems, *self.scan.unlisted(listed, reason)]

    def _stated(self, document: Document, name: str) -> Path | None:
        """Find the image of a stated name where the file's own image would be; folders in the name are dropped."""
        place = (self.scan.part.images / document.key).parent
        # A backslash is Windows' slash, or part of a name.
        for last in (PurePosixPath(name).name, PurePosixPath(name.replace("\\", "/")).name):
            found = self.scan.by_file.get(_nfc(relative(place / last, self.scan.root))) if last else None
            if found:
                return found
        return None


def scan_part(part: Part, root: Path, suffixes: Iterable[str]) -> Scan:
    """Find a part's images and its annotation files with the given suffixes, and parse the latter."""
    documents: dict[str, list[Document]] = {suffix: [] for suffix in suffixes}
    images, problems = list_images(part.images, root, nested=True)
    silent = _COMPANIONS | documents.keys()
    problems = [fault for fault in problems if fault.code != "foreign_file" or Path(fault.file).suffix not in silent]
    by_key: dict[str, list[Path]] = defaultdict(list)
    for path in images:
        by_key[_key(path, part.images)].append(path)
    files, faults = _files(part, root)
    for path, base in files:
        if path.suffix.lower() in documents:
            documents[path.suffix.lower()].append(_document(path, base, root))
    return Scan(
        root=root,
        part=part,
        images=images,
        by_file={_nfc(relative(path, root)): path for path in images},
        by_key=dict(by_key),
        inner_splits=bool(images) and all(_inner_split(path, part.images) for path in images),
        documents=documents,
        problems=[*problems, *faults],
    )


def _files(part: Part, root: Path) -> tuple[list[tuple[Path, Path]], list[Problem]]:
    """Return the part's files, each with the folder that its key counts from."""
    found: dict[Path, Path] = {}
    above = list_folder(part.folder, root)
    problems = list(above.problems)
    bases = [path for path in above.folders if path.name.lower() in _LABEL_FOLDERS]
    bases += [] if part.images in bases else [part.images]
    for base in bases:
        waiting = [base]
        while waiting:
            listing = list_folder(waiting.pop(), root)
            problems += listing.problems
            waiting += [path for path in listing.folders if not is_link(path)]
            found.update({path: base for path in listing.files if path not in found})
    found.update({path: part.folder for path in above.files if path not in found})
    files = sorted(found.items())
    # COCO's own layout, and Datumaro's: the annotations of all splits in one folder above them.
    instances = root / "annotations" / f"instances_{part.folder.name}.json"
    return [*files, *([(instances, instances.parent)] if part.split and _is_file(instances) else [])], problems


def _document(path: Path, base: Path, root: Path) -> Document:
    parse = {".json": read_json, ".xml": read_xml}.get(path.suffix.lower())
    content, fault = parse(path, root) if parse else (None, None)
    return Document(path, relative(path, root), _key(path, base), content, fault)


def _key(path: Path, base: Path) -> str:
    return _nfc(posixpath.splitext(relative(path, base))[0])


def _stem(name: str) -> str:
    return _nfc(posixpath.splitext(name)[0]).casefold()


def _nfc(text: str) -> str:
    """Normalise names that systems write in two forms (macOS decomposes letters with accents)."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def _inner_split(path: Path, images: Path) -> str:
    inner = path.relative_to(images).parts if path.is_relative_to(images) else ()
    return split_name(inner[0]) if len(inner) > 1 else ""


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        # A name that the file system refuses, for example one that is too long.
        return False
