"""The images that a text names: a file, a folder, a pattern or a ZIP, and what of it is left out."""

import glob
import lzma
import os
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from panvision.inference.backend import PredictorError
from panvision.photos.pixels import (
    IMAGE_SUFFIXES,
    ImageError,
    RgbArray,
    most_bytes,
    read_bytes,
    read_image,
    read_picture,
    unread_format,
)

# Of a clip, frames are read by `panvision watch`.
VIDEO_SUFFIXES = frozenset({".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".3gp", ".mts"})
# Files that tools and operating systems put beside images; they are left out without a word.
_COMPANIONS = frozenset(
    {".json", ".jsonl", ".csv", ".txt", ".yaml", ".yml", ".xml", ".md", ".dvc", ".names", ".data", ".cache"}
)
_LITTER = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "@eadir"})
# Errors of reading a member: damaged, encrypted, or packed in a way that Python does not know.
_UNPACKING = (OSError, EOFError, RuntimeError, ValueError, zipfile.BadZipFile, zlib.error, lzma.LZMAError)


@dataclass(frozen=True)
class Failure:
    """A file that was not predicted.

    Attributes:
        name: its name, or its path below the folder or the archive.
        reason: why.
    """

    name: str
    reason: str

    @property
    def entry(self) -> dict[str, Any]:
        """Return its line."""
        return {"image_name": self.name, "failed": self.reason}


@dataclass(frozen=True)
class ImageSource:
    """One image that is not read yet.

    Attributes:
        name: its path below the folder, the pattern's folder or the archive, with forward slashes; unique in a run.
        path: its path for the user.
        archive: the opened archive that holds it.
    """

    name: str
    path: str
    archive: zipfile.ZipFile | None = None

    def read(self, max_pixels: int) -> RgbArray:
        """Decode it to (H, W, 3) uint8 RGB.

        Raises:
            ImageError: it cannot be read, or is larger than `max_pixels`.
        """
        if self.archive is None:
            return read_image(self.path, max_pixels=max_pixels)
        return read_picture(self.path, max_pixels=max_pixels, content=self.content(max_pixels)).rgb

    def content(self, max_pixels: int) -> bytes:
        """Return the file's bytes.

        Raises:
            ImageError: it cannot be read, or has more bytes than an image of `max_pixels` can have.
        """
        most = most_bytes(max_pixels)
        if self.archive is None:
            return read_bytes(self.path, most)
        try:
            with self.archive.open(self.name) as stream:
                content = stream.read(most + 1)
        except _UNPACKING as error:
            raise ImageError(f"{self.path}: cannot be read from the archive: {error}") from error
        if len(content) > most:
            raise ImageError(f"{self.path}: more than {most} bytes are too many for an image")
        return content


@dataclass
class Inputs:
    """Images in the order of their names, and what was left out."""

    images: list[ImageSource] = field(default_factory=list)
    skipped: list[Failure] = field(default_factory=list)


def find_images(
    source: str | Path, *, recursive: bool = False, without: str | Path | None = None, marker: str | None = None
) -> Inputs:
    """Find the images of a folder, a file, a ZIP or a pattern such as `photos/*/*.jpg`.

    Hidden files and those that tools put beside images are left out without a word, all other files with one.

    Args:
        source: the user's text.
        recursive: include the images in sub-folders; links to folders are not followed.
        without: a folder that is not searched, as that of the outputs.
        marker: sub-folders with a file of this name hold copies of images and are left out.

    Raises:
        PredictorError: there is no such file or folder, or no image in it, or it is a clip, camera or stream.
    """
    text, path = os.fspath(source), Path(source)
    if _is_live(text):
        raise PredictorError(f"{text}: is a clip, camera or stream; `panvision watch {text}` reads its frames")
    if path.is_dir():
        if recursive and marker and without is not None and Path(without).resolve() == path.resolve():
            raise PredictorError(f"{text}: would receive copies of the images in it; choose another folder with --into")
        found = _sorted(_in_folder(path, recursive=recursive, without=without, marker=marker))
        kind = "has no images"
    elif path.suffix.lower() == ".zip" and path.is_file():
        found, kind = _sorted(_in_archive(path)), "has no images"
    elif path.is_file():
        found, kind = Inputs([ImageSource(path.name, str(path))]), ""
    elif glob.has_magic(text):
        found, kind = _sorted(_by_pattern(text)), "matches no images"
    else:
        raise PredictorError(f"{text}: no such folder, file or pattern of images")
    if not found.images:
        listed = "".join(f"\n{text}: left out: {each.name}: {each.reason}" for each in found.skipped[:5])
        raise PredictorError(f"{text}: {kind} ({', '.join(sorted(IMAGE_SUFFIXES))}){listed}")
    return found


def _is_live(text: str) -> bool:
    path = Path(text)
    if "://" in text or (path.suffix.lower() in VIDEO_SUFFIXES and path.is_file()):
        return True
    return path.is_char_device() or (text.isdecimal() and not path.exists())


def _sorted(found: Iterable[ImageSource | Failure]) -> Inputs:
    """Sort what was found by name."""
    inputs = Inputs()
    for one in sorted(found, key=lambda one: one.name):
        if isinstance(one, Failure):
            inputs.skipped.append(one)
        else:
            inputs.images.append(one)
    return inputs


def _in_folder(
    folder: Path, *, recursive: bool, without: str | Path | None, marker: str | None
) -> Iterator[ImageSource | Failure]:
    excluded = None if without is None else Path(without).resolve()
    errors: list[OSError] = []
    for parent, folders, files in os.walk(folder, onerror=errors.append):
        below = Path(parent).relative_to(folder)
        here = [name for name in folders if not _is_hidden(name) and (Path(parent) / name).resolve() != excluded]
        folders[:] = here if recursive else []
        for name in here:
            if not recursive or (Path(parent) / name).is_symlink():
                reason = "is a link to a folder" if recursive else "is a folder; --recursive reads it"
                yield Failure((below / name).as_posix(), reason)
            elif marker is not None and (Path(parent) / name / marker).is_file():
                folders.remove(name)
                reason = f"has copies of images, because {marker} is in it; name it alone to read them"
                yield Failure((below / name).as_posix(), reason)
        for name in files:
            yield from _judged((below / name).as_posix(), str(Path(parent) / name))
    for error in errors:
        yield Failure(Path(error.filename).relative_to(folder).as_posix(), f"cannot be listed: {error.strerror}")


def _by_pattern(pattern: str) -> Iterator[ImageSource | Failure]:
    """Yield the files that a pattern matches, named below the folder that they have in common."""
    matches = [Path(match) for match in glob.glob(pattern, recursive=True)]  # noqa: PTH207 -- any path, as typed
    files = [path for path in matches if not path.is_dir()]
    common = Path(os.path.commonpath([path.parent for path in files])) if files else Path()
    for path in files:
        yield from _judged(path.relative_to(common).as_posix(), str(path))


def _in_archive(path: Path) -> Iterator[ImageSource | Failure]:
    """Yield the members of a ZIP; it stays open, and nothing is unpacked.

    Raises:
        PredictorError: it is damaged.
    """
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile, ValueError) as error:
        raise PredictorError(f"{path}: not a readable ZIP: {error}") from error
    for name in dict.fromkeys(member.filename for member in archive.infolist() if not member.is_dir()):
        parts = PurePosixPath(name).parts
        if any(_is_hidden(part) for part in parts if part != ".."):
            continue
        if not parts or parts[0] == "/" or ".." in parts or "\\" in name or ":" in parts[0] or "\0" in name:
            yield Failure(name, "has a path that leads out of the archive")
        else:
            yield from _judged(name, f"{path}/{name}", archive)


def _judged(name: str, path: str, archive: zipfile.ZipFile | None = None) -> Iterator[ImageSource | Failure]:
    """Yield the image, or why it is none; nothing for files that are expected beside images."""
    place = PurePosixPath(name)
    suffix = place.suffix.lower()
    if _is_hidden(place.name) or suffix in _COMPANIONS:
        return
    if suffix in IMAGE_SUFFIXES:
        yield ImageSource(name, path, archive)
    elif suffix in VIDEO_SUFFIXES:
        yield Failure(name, f"is a clip; `panvision watch {path}` reads its frames")
    else:
        known = unread_format(name)
        reason = f"is {known}, which is not read" if known else "is not in a format that is read"
        yield Failure(name, f"{reason} ({', '.join(sorted(IMAGE_SUFFIXES))})")


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in _LITTER
