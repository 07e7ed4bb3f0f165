"""A folder of pre-labels in which nothing that a person wrote is changed."""

import hashlib
import json
import zipfile
from collections import defaultdict
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Self

from panvision.core.files import replacing

# A line per written file: its path and the SHA-256 of its content; None once it was removed here.
LEDGER = "prelabel.jsonl"
_EPOCH = (1980, 1, 1, 0, 0, 0)
# Folder of labels that are images.
_MASKS = "masks"
_TEXTS = frozenset({".json", ".xml", ".txt", ".yaml"})


class Output:
    """A folder that remembers what was written into it. Use it as a context.

    A file belongs to a person if its content is not the last one that was written under its name, also in earlier
    runs. A file that was written and is gone was moved or removed by a person, and does not come back.

    Args:
        folder: created if missing.

    Attributes:
        kept: paths that belong to a person, where this run had something else to write.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.kept: list[str] = []
        self._hashes: dict[str, str] = {}
        # Paths by the stem of the file's name.
        self._places: dict[str, set[str]] = defaultdict(set)
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / LEDGER
        lines = path.read_bytes() if path.is_file() else b""
        for line in lines.splitlines():
            try:
                entry = json.loads(line)
                self._note(entry["file"], entry["sha256"])
            except (ValueError, KeyError, TypeError):
                continue  # the run was killed during the write
        self._lines = path.open("ab")
        if lines and not lines.endswith(b"\n"):
            self._lines.write(b"\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lines.close()

    def write(self, path: str, content: bytes) -> bool:
        """Write a file, unless it belongs to a person.

        Args:
            path: below the folder, with forward slashes.
            content: its bytes.

        Returns:
            True if the file has this content afterwards.
        """
        target, digest = self.folder / path, hashlib.sha256(content).hexdigest()
        if self._digest(path) != digest:
            if self._is_a_persons(path):
                self.kept.append(path)
                return False
            with replacing(target) as scratch:
                scratch.write_bytes(content)
        self._record(path, digest)
        return True

    def place(self, path: str, content: bytes) -> str | None:
        """Write an image whose folder is its class like `write`, unless a person has put it into another one.

        An earlier copy of ours in another class is removed.

        Returns:
            The path of the image afterwards, in the folder that a person chose; None if a person changed or removed it.
        """
        pure = PurePosixPath(path)
        classes = pure.parent.parent
        folders = sorted(each.name for each in (self.folder / classes).glob("*") if each.is_dir())
        there = {
            f"{classes}/{name}/{pure.name}" for name in folders if (self.folder / classes / name / pure.name).exists()
        }
        known = (PurePosixPath(each) for each in self._places[pure.stem])
        ours = {str(each) for each in known if each.parent.parent == classes and each.name == pure.name}
        others = sorted((there | ours) - {path})
        if moved := [other for other in others if self._is_a_persons(other)]:
            chosen = next((other for other in moved if other in there), None)
            self.kept.append(chosen or path)
            return chosen
        for other in others:
            (self.folder / other).unlink(missing_ok=True)
            self._record(other, None)
        return path if self.write(path, content) else None

    def ours(self, path: str) -> bytes | None:
        """Return a file's content as an earlier run wrote it; None if it is absent or a person's."""
        known = self._hashes.get(path)
        return (self.folder / path).read_bytes() if known is not None and known == self._digest(path) else None

    def images(self, name: str) -> list[str]:
        """Return the paths of written images that would share the label file of an image called `name`."""
        paths = (PurePosixPath(path) for path in self._places.get(PurePosixPath(name).stem, ()))
        images = (each for each in paths if len(each.parts) > 2 and each.suffix.lower() not in _TEXTS)
        return sorted(str(each) for each in images if each.parent.name != _MASKS)

    def differs(self, path: str, content: bytes) -> bool:
        """True if something else was written at a path, also in earlier runs."""
        return self._hashes.get(path, digest := hashlib.sha256(content).hexdigest()) != digest

    def zip(self, part: str) -> None:
        """Write all files of a folder in it as `<part>.zip`; equal files give equal bytes."""
        path, root = f"{part}.zip", self.folder / part
        if (self.folder / path).exists() and self._is_a_persons(path):
            self.kept.append(path)
            return
        with replacing(self.folder / path) as scratch, zipfile.ZipFile(scratch, "w") as archive:
            for file in sorted(file for file in root.rglob("*") if file.is_file() and not file.name.startswith(".")):
                entry = zipfile.ZipInfo(file.relative_to(root).as_posix(), _EPOCH)
                entry.external_attr = 0o644 << 16
                # Images are compressed already.
                entry.compress_type = zipfile.ZIP_DEFLATED if file.suffix in _TEXTS else zipfile.ZIP_STORED
                archive.writestr(entry, file.read_bytes())
        self._record(path, self._digest(path))

    def _digest(self, path: str) -> str | None:
        """Return the hash of a file; None if it is absent, "" for what is not a file."""
        target = self.folder / path
        if not target.is_file():
            return "" if target.exists() else None
        with target.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def _is_a_persons(self, path: str) -> bool:
        """True if the file's content is not ours, or if it was ours and is gone."""
        found, ours = self._digest(path), self._hashes.get(path)
        return ours is not None if found is None else found != ours

    def _record(self, path: str, digest: str | None) -> None:
        """Add a line. After the file: a run that is killed in between leaves a file of the same content."""
        if digest is None or digest != self._hashes.get(path):
            self._lines.write((json.dumps({"file": path, "sha256": digest}) + "\n").encode())
            self._lines.flush()
        self._note(path, digest)

    def _note(self, path: str, digest: str | None) -> None:
        places = self._places[PurePosixPath(path).stem]
        if digest is None:
            self._hashes.pop(path, None)
            places.discard(path)
        else:
            self._hashes[path] = digest
            places.add(path)
