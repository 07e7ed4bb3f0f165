"""What lies in one part of a set: its images, and its annotation files, each parsed once."""

import posixpath
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any
from urllib.parse import unquote

from panvision.dataset.paths import SPLIT_FOLDERS, is_link, leaves_root, relative
from panvision.dataset.problems import Problem, problem
from panvision.prepare.formats.layout import OUTSIDE, Part, is_readable, list_folder, list_images, unreadable
from panvision.prepare.formats.parsing import read_json, read_xml

# Folders beside the images in which tools put their annotation files.
_LABEL_FOLDERS = frozenset({"annotations", "labels"})
# What Darknet and Ultralytics put beside images.
_COMPANIONS = frozenset({".names", ".data", ".labels", ".cache"})

Pair = tuple["Document", Path]


@dataclass(frozen=True, slots=True)
class Document:
    """One annotation file.

    Attributes:
        path: where it lies.
        file: its path below the task's folder.
        key: its path below the folder of its kind, without suffix, in NFC: what an image of its own is called.
        content: the JSON value, or the XML's root element; None for text, and for what cannot be parsed.
        fault: why it cannot be parsed.
    """

    path: Path
    file: str
    key: str
    content: Any = None
    fault: Problem | None = None


@dataclass(frozen=True)
class Scan:
    """One part of a set.

    Attributes:
        root: the task's folder.
        part: which part.
        images: all its images, in order of name.
        by_file: its images by path below the task's folder, in NFC.
        by_key: its images by path below the images' folder, without suffix, in NFC.
        inner_splits: every image lies in a split's folder inside the images' folder, as Ultralytics has it.
        jsons: files named `*.json` beside the images, above them, or in `annotations/` and `labels/`.
        xmls: the same for `*.xml`.
        texts: the same for `*.txt`, not read yet.
        problems: of the folders.
    """

    root: Path
    part: Part
    images: list[Path]
    by_file: dict[str, Path]
    by_key: dict[str, list[Path]]
    inner_splits: bool
    jsons: list[Document]
    xmls: list[Document]
    texts: list[Document]
    problems: list[Problem]

    def split_of(self, path: Path, subset: str = "") -> str:
        """An image's split: its part's, else its folder's in `images/`, else that of the subset's name."""
        inner = _inner_split(path, self.part.images) if self.inner_splits else ""
        return self.part.split or inner or split_name(subset)

    def own_images(self, document: Document) -> list[Path]:
        """The images that bear an annotation file's name; more than one if they differ in suffix only."""
        images = self.by_key.get(document.key, [])
        return [path for path in images if path.stem == document.path.stem] or images

    def locate(self, name: str, source: str, subset: str = "") -> Path | Problem:
        """The image that an annotation file lists by its name.

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
            return problem("path_escapes", source, f"the file name {name!r} leaves the folder{self._likest(pure)}")
        folders = [self.part.images, self.part.folder]
        folders += [folder / subset for folder in folders] if subset else []
        for path in (folder / form for folder in folders for form in dict.fromkeys((pure, PurePosixPath(name)))):
            found = path if _is_file(path) else self.by_file.get(_nfc(relative(path, self.root)))
            if found and leaves_root(found, self.root):
                return problem("link_escapes", relative(found, self.root), OUTSIDE)
            if found:
                return found if is_readable(relative(found, self.root)) else unreadable(found, self.root)
        absent = f"is listed in {source}, but absent{self._likest(pure)}"
        return problem("image_missing", relative(self.part.images / pure, self.root), absent)

    def _likest(self, listed: PurePosixPath) -> str:
        """The image that may be meant, for a message: of another folder, case or suffix, or listed as in an address."""
        found = self._by_stem.get(_stem(unquote(listed.name)))
        return "" if found is None else f"; there is {relative(found, self.root)}"

    @cached_property
    def _by_stem(self) -> dict[str, Path]:
        return {_stem(path.name): path for path in reversed(self.images)}

    def unlisted(self, listed: Iterable[str], reason: str) -> list[Problem]:
        """Images of which the annotations say nothing: whether they show nothing or were forgotten is unknown."""
        known = set(listed)
        files = [relative(path, self.root) for path in self.images]
        return [problem("image_unlisted", file, reason) for file in files if file not in known]


@dataclass(frozen=True)
class Claim:
    """A part whose annotations are of one format, and the files that hold them."""

    scan: Scan
    documents: list[Document]

    def pair(self, image_name: Callable[[Document], str], *, by_name: bool) -> tuple[list[Pair], list[Problem]]:
        """Annotation files of one image each with their images.

        Args:
            image_name: the image's name that a file states, or "".
            by_name: the stated name decides; otherwise the file's own does, where there is one image of that name.

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
                problems += [
                    problem("stem_twice", file, f"shares {document.file} with another image") for file in files
                ]
            else:
                pairs.append((document, images[0]))
        reason = "has no label file of its own; one without objects would say that it shows nothing"
        return pairs, [*problems, *self.scan.unlisted(listed, reason)]

    def _stated(self, document: Document, name: str) -> Path | None:
        """The image of a stated name where the file's own image would lie; folders in the name are dropped."""
        place = (self.scan.part.images / document.key).parent
        # A backslash is Windows' slash, or part of a name.
        for last in (PurePosixPath(name).name, PurePosixPath(name.replace("\\", "/")).name):
            found = self.scan.by_file.get(_nfc(relative(place / last, self.scan.root))) if last else None
            if found:
                return found
        return None


def scan_part(part: Part, root: Path) -> Scan:
    """Find a part's images and annotation files, and parse the latter."""
    images, problems = list_images(part.images, root, nested=True)
    problems = [
        fault for fault in problems if fault.code != "foreign_file" or Path(fault.file).suffix not in _COMPANIONS
    ]
    by_key: dict[str, list[Path]] = defaultdict(list)
    for path in images:
        by_key[_key(path, part.images)].append(path)
    files, faults = _annotation_files(part, root)
    # COCO's own layout, and Datumaro's: the annotations of all splits in one folder above them.
    above = root / "annotations" / f"instances_{part.folder.name}.json"
    if part.split and _is_file(above):
        files.append((above, above.parent))
    parsed: dict[str, list[Document]] = {".json": [], ".xml": [], ".txt": []}
    for path, base in files:
        parsed[path.suffix.lower()].append(_document(path, base, root))
    return Scan(
        root=root,
        part=part,
        images=images,
        by_file={_nfc(relative(path, root)): path for path in images},
        by_key=dict(by_key),
        inner_splits=bool(images) and all(_inner_split(path, part.images) for path in images),
        jsons=parsed[".json"],
        xmls=parsed[".xml"],
        texts=parsed[".txt"],
        problems=[*problems, *faults],
    )


def split_name(folder: str) -> str:
    """The split that a folder's or a subset's name means, if it does; COCO writes `train2017`."""
    return SPLIT_FOLDERS.get(re.sub(r"\d+$", "", folder.lower()), "")


def _annotation_files(part: Part, root: Path) -> tuple[list[tuple[Path, Path]], list[Problem]]:
    """The part's JSON, XML and text files, each with the folder that its name counts from."""
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
    chosen = [(path, base) for path, base in found.items() if path.suffix.lower() in (".json", ".xml", ".txt")]
    return sorted(chosen), problems


def _document(path: Path, base: Path, root: Path) -> Document:
    file, key = relative(path, root), _key(path, base)
    kind = path.suffix.lower()
    if kind == ".txt":
        return Document(path, file, key)
    content, fault = read_json(path, root) if kind == ".json" else read_xml(path, root)
    return Document(path, file, key, content, fault)


def _key(path: Path, base: Path) -> str:
    return _nfc(posixpath.splitext(relative(path, base))[0])


def _stem(name: str) -> str:
    return _nfc(posixpath.splitext(name)[0]).casefold()


def _nfc(text: str) -> str:
    """One form for names that systems write in two (macOS decomposes letters with accents)."""
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
