"""A folder of pre-labels in which nothing that a person wrote is changed."""

import errno
import hashlib
import json
import os
import zipfile
from collections import defaultdict
from pathlib import Path, PurePosixPath

from panvision.core.files import replacing
from panvision.core.tasks import DATASETS
from panvision.dataset.paths import fold_name
from panvision.labelling.forms import MASKS
from panvision.photos.pixels import IMAGE_SUFFIXES

# Two lines per written file: its path and as `next`, before the write, or as `sha256`, after it, the SHA-256 of its
# content; None if it is removed here.
LEDGER = "prelabel.jsonl"
_EPOCH = (1980, 1, 1, 0, 0, 0)
_TEXTS = frozenset({".json", ".xml", ".txt", ".yaml"})
_ABSENT: frozenset[str | None] = frozenset({None})


class Output:
    """A folder that remembers what was written into it; it is created by the first file.

    A file belongs to a person if its content is not the last one that was written under its name, also in earlier
    runs. So does one that nothing was written over, even if it has the content that would be written. A file that was
    written and is gone was moved or removed by a person, and does not come back.

    Args:
        folder: may be missing.

    Raises:
        FileExistsError: it is a file.

    Attributes:
        kept: paths that belong to a person, where this run had something else to write.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if self.folder.exists() and not self.folder.is_dir():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(folder))
        self.kept: list[str] = []
        # The hashes that each file of ours can have, None if it can be absent: two from before a write until after it.
        self._ours: dict[str, frozenset[str | None]] = {}
        # Paths of images, of a person also, by the folded stem of their name.
        self._images: dict[str, set[str]] = defaultdict(set)
        for part in DATASETS:
            for path in (self.folder / part).rglob("*"):
                self._index(path.relative_to(self.folder).as_posix())
        path = self.folder / LEDGER
        lines = path.read_bytes() if path.is_file() else b""
        for line in lines.splitlines():
            try:
                entry = json.loads(line)
                kind = "next" if "next" in entry else "sha256"
                self._note(entry["file"], kind, entry[kind])
            except (ValueError, KeyError, TypeError):
                continue  # the run was killed during the write
        self._torn = bool(lines) and not lines.endswith(b"\n")

    @property
    def stems(self) -> frozenset[str]:
        """The stems of all images in the folder, in the form of `fold_name`."""
        return frozenset(self._images)

    def write(self, path: str, content: bytes) -> bool:
        """Write a file, unless it belongs to a person.

        Args:
            path: below the folder, with forward slashes.
            content: its bytes.

        Returns:
            True if the file has this content afterwards.
        """
        found, digest = self._digest(path), hashlib.sha256(content).hexdigest()
        if found not in self._ours.get(path, _ABSENT):
            if found != digest:
                self.kept.append(path)
            return found == digest
        if found != digest:
            with replacing(self.folder / path) as scratch:
                scratch.write_bytes(content)
                self._record(path, "next", digest)
        if self._ours.get(path) != {digest}:
            self._record(path, "sha256", digest)
        return True

    def place(self, path: str, content: bytes) -> str | None:
        """Write an image whose folder is its class like `write`, unless a person has put it into another one.

        An earlier copy of ours in another class is removed.

        Returns:
            The path of the image afterwards, in the folder that a person chose; None if a person removed it, or put it
            into none.
        """
        pure = PurePosixPath(path)
        twins = self.named(pure.name, f"{pure.parent.parent}/")
        if theirs := [each for each in twins if self.is_a_persons(each)]:
            there = [each for each in theirs if (self.folder / each).exists()]
            chosen = path if path in there else next(iter(there), None)
            if chosen != path or self._digest(path) != hashlib.sha256(content).hexdigest():
                self.kept.append(chosen or path)
            return chosen if chosen and PurePosixPath(chosen).parent != pure.parent.parent else None
        self.write(path, content)
        for other in twins:
            if other != path:
                self._record(other, "next", None)
                (self.folder / other).unlink(missing_ok=True)
                self._record(other, "sha256", None)
        return path

    def ours(self, path: str) -> bytes | None:
        """Return a file's content as an earlier run wrote it; None if it is absent or a person's."""
        target = self.folder / path
        return target.read_bytes() if target.exists() and not self.is_a_persons(path) else None

    def images(self, name: str) -> list[str]:
        """Return the paths of images, there or removed by a person, that share the label file of one called `name`."""
        paths = self._images.get(fold_name(PurePosixPath(name).stem), ())
        return sorted(path for path in paths if self._written(path) or (self.folder / path).exists())

    def named(self, name: str, start: str = "") -> list[str]:
        """Return those of `images` that are called `name` themselves, with a start of their path."""
        return [path for path in self.images(name) if path.startswith(start) and path.endswith(f"/{name}")]

    def other_image(self, name: str, content: bytes) -> str | None:
        """Return the path of another image than `content` that shares the label file of one called `name`."""
        digest = hashlib.sha256(content).hexdigest()
        for path in self.images(name):
            twins = self.named(name, path[: path.index("/")])
            # A person may have edited the image since, and moved it.
            known = frozenset[str | None]().union(*map(self._written, twins)) or {self._digest(path)}
            if path not in twins or digest not in known:
                return path
        return None

    def zip(self, part: str) -> None:
        """Write all files of a folder in it as `<part>.zip`, if it has any; equal files give equal bytes."""
        path, root = f"{part}.zip", self.folder / part
        files = sorted(file for file in root.rglob("*") if file.is_file() and not file.name.startswith("."))
        if not files:
            return
        if (self.folder / path).exists() and self.is_a_persons(path):
            self.kept.append(path)
            return
        with replacing(self.folder / path) as scratch:
            with zipfile.ZipFile(scratch, "w") as archive:
                for file in files:
                    entry = zipfile.ZipInfo(file.relative_to(root).as_posix(), _EPOCH)
                    entry.external_attr = 0o644 << 16
                    # Images are compressed already.
                    entry.compress_type = zipfile.ZIP_DEFLATED if file.suffix in _TEXTS else zipfile.ZIP_STORED
                    archive.writestr(entry, file.read_bytes())
            self._record(path, "next", digest := _digest(scratch))
        self._record(path, "sha256", digest)

    def is_a_persons(self, path: str) -> bool:
        """True if the file's content is not ours, or if it was ours and is gone."""
        return self._digest(path) not in self._ours.get(path, _ABSENT)

    def _digest(self, path: str) -> str | None:
        return _digest(self.folder / path)

    def _written(self, path: str) -> frozenset[str | None]:
        """Return the hashes of what was written at a path and not removed here."""
        return self._ours.get(path, _ABSENT) - _ABSENT

    def _record(self, path: str, kind: str, digest: str | None) -> None:
        """Add a line, before a write (`next`) or after it (`sha256`)."""
        self._note(path, kind, digest)
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / LEDGER).open("ab") as lines:
            lines.write((b"\n" if self._torn else b"") + json.dumps({"file": path, kind: digest}).encode() + b"\n")
        self._torn = False

    def _note(self, path: str, kind: str, digest: str | None) -> None:
        before = self._ours.get(path, _ABSENT) if kind == "next" else frozenset()
        self._ours[path] = before | {digest}
        self._index(path)

    def _index(self, path: str) -> None:
        pure = PurePosixPath(path)
        if len(pure.parts) > 2 and pure.parts[1] != MASKS and pure.suffix.lower() in IMAGE_SUFFIXES:
            self._images[fold_name(pure.stem)].add(path)


def _digest(path: Path) -> str | None:
    """Return the hash of a file; None if it is absent, "" for what is not a file."""
    if not path.is_file():
        return "" if path.exists() else None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
