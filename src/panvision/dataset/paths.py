"""File names and paths below a dataset's folder: splits, links, and the photo that a file was made from."""

import functools
import os
import posixpath
import re
import unicodedata
from pathlib import Path

_SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("valid", "val", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
# Folder names that mean a split; Roboflow writes `valid`, Darknet and CVAT `obj_valid_data`.
SPLIT_FOLDERS = _SPLITS | {f"obj_{name}_data": split for name, split in _SPLITS.items()}

# DVC names an object by the hash of its content: files/md5/ab/cdef… (30 more digits).
_DVC_OBJECT = re.compile(r"/[0-9a-f]{2}/[0-9a-f]{30}$")


def is_absent(root: Path) -> bool:
    """True if a dataset's folder does not exist, or holds nothing but hidden files."""
    try:
        return not root.exists() or (root.is_dir() and all(path.name.startswith(".") for path in root.iterdir()))
    except OSError:
        return False


def leaves_root(path: Path, root: Path) -> bool:
    """True if a path leads out of the dataset's folder, by `..` or by a link.

    DVC's own cache does not count as outside: with `cache.type symlink` every file of a dataset is a link into it.
    """
    try:
        plain = path.name != ".." and not path.is_symlink()
        target = _resolve(path.parent) / path.name if plain else path.resolve()
        return not target.is_relative_to(_resolve(root)) and _DVC_OBJECT.search(target.as_posix()) is None
    except (OSError, RuntimeError, ValueError):
        # A link to itself, or a name that no file can have.
        return False


# Cached, because every file of a folder needs the same, and each step is a system call.
@functools.lru_cache(maxsize=256)
def _resolve(folder: Path) -> Path:
    return folder.resolve()


def is_link(path: Path) -> bool:
    """True if a path is a symbolic link that may be looked at."""
    try:
        return path.is_symlink()
    except OSError:
        return False


def fold_name(name: str) -> str:
    """Return a form that is equal for names that differ only in case or in Unicode form (NFC, then case folding)."""
    if name.isascii():
        return name.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def relative(path: Path, root: Path) -> str:
    """Return a path below `root` with forward slashes."""
    # Faster than `Path.relative_to`, which would run several times for every file.
    below, start = str(path), _start(str(root))
    if below.startswith(start):
        return below.removeprefix(start).replace(os.sep, "/")
    return path.relative_to(root).as_posix()


@functools.lru_cache(maxsize=16)
def _start(root: str) -> str:
    return os.path.join(root, "")  # noqa: PTH118 -- pathlib drops the slash at the end


def photo_name(name: str) -> tuple[str, bool]:
    """Return the photo that a file was made from, and True if Roboflow's export says so.

    Roboflow names every augmented copy of `pan.jpg` `pan_jpg.rf.<hash>.jpg`: the photo is `pan_jpg`. Any other file is
    its own photo, named by its stem, which means nothing across folders (`0001` is in every dataset).
    """
    stem = posixpath.splitext(posixpath.basename(name))[0]
    photo, marker, _ = stem.rpartition(".rf.")
    return (photo, True) if marker and photo else (stem, False)
