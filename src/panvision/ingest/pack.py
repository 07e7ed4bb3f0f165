"""Raw images and labels in, packed arrays out: the work of the prepare stage."""

import csv
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from PIL import Image

from panvision.files import write_json
from panvision.ingest.arrays import ArrayWriter
from panvision.ingest.layout import ACCEPTED, Reading
from panvision.ingest.load import INDEX_COLUMNS, LABEL_COLUMNS, Loaded
from panvision.ingest.looks import SIDE
from panvision.ingest.packed import BOX_COLUMNS, Task
from panvision.ingest.problems import IngestError, Problem, describe, write_problems
from panvision.ingest.readers import read_set
from panvision.ingest.settings import DataSettings
from panvision.ingest.workers import load_samples


@dataclass(frozen=True)
class PackResult:
    """How many images were packed, and every problem that was found."""

    images: int
    problems: list[Problem]


def prepare(task: Task, settings: DataSettings, out: str | Path) -> PackResult:
    """Read one task's raw set, check it, and write its packed arrays as a whole folder or not at all.

    Images with an error are left out of the arrays and listed in problems.csv; validate stops on them.

    Args:
        task: which set below `settings.root`.
        settings: the `data` section.
        out: folder to write; what was there is replaced.

    Raises:
        IngestError: the set is missing, or nothing in it can be used.
        OSError: the arrays cannot be written.
    """
    root, out = Path(settings.root) / task, Path(out)
    if not root.is_dir():
        raise IngestError(f"{root}: no such folder; {_expected(task)}")
    reading = read_set(task, root)
    # Named the same each time, so that what a killed run left is cleared by the next one.
    scratch, old = out.parent / f".{out.name}.partial", out.parent / f".{out.name}.old"
    shutil.rmtree(scratch, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        result = _pack(task, reading, root, settings, scratch)
        if not result.images:
            raise IngestError(f"{root}: nothing usable found; {_expected(task)}\n{describe(result.problems)}".rstrip())
        # Whole folders change their names, so that one that is half written or half removed never bears the good name.
        if out.exists():
            out.rename(old)
        scratch.rename(out)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
    return result


def _expected(task: Task) -> str:
    return (
        f"data.root must hold {task}/ with {ACCEPTED[task]}, or, as Roboflow exports it, with the folders "
        "train/, valid/ and test/ (each in that form, or with the files directly in it)"
    )


def _pack(task: Task, reading: Reading, root: Path, settings: DataSettings, folder: Path) -> PackResult:
    """Decode every sample once, and stream the arrays and tables into `folder`."""
    problems = list(reading.problems)
    with _Writers(task, settings.image_size, folder) as writers:
        for loaded in load_samples(reading.samples, root, settings):
            problems += loaded.problems
            writers.append(loaded)
    write_json(folder / "classes.json", {"classes": reading.classes})
    write_problems(folder / "problems.csv", problems)
    return PackResult(writers.rows, sorted(set(problems)))


@dataclass
class _Writers:
    """The open files of a packed set; rows go out as they come, so that memory does not grow with them."""

    task: Task
    side: int
    folder: Path
    rows: int = 0
    _stack: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Self:
        self._images = self._array("images.npy", (self.side, self.side, 3))
        self._looks = self._array("looks.npy", (SIDE, SIDE))
        self._index = self._table("index.csv", (*INDEX_COLUMNS, *LABEL_COLUMNS[self.task]))
        if self.task == "segmentation":
            self._masks = self._array("masks.npy", (self.side, self.side))
        if self.task == "detection":
            self._boxes = self._table("boxes.csv", BOX_COLUMNS)
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    def append(self, loaded: Loaded) -> None:
        """Write one sample, unless it cannot be used."""
        if loaded.image is None or loaded.look is None:
            return
        self._images.append(loaded.image)
        self._looks.append(loaded.look)
        if loaded.mask is not None:
            self._masks.append(loaded.mask)
        mask_file = self._save_drawn(loaded)
        self._index.writerow((*loaded.index, *((mask_file,) if self.task == "segmentation" else ())))
        if loaded.boxes is not None:
            self._boxes.writerows(_box_rows(self.rows, loaded))
        self.rows += 1

    def _save_drawn(self, loaded: Loaded) -> str:
        """Keep a mask that was drawn from outlines at the picture's own size, for it has no file to be read again."""
        if loaded.full_mask is None:
            return ""
        name = f"drawn/{self.rows:06}.png"
        (self.folder / name).parent.mkdir(exist_ok=True)
        Image.fromarray(loaded.full_mask * 255).save(self.folder / name)
        return name

    def _array(self, name: str, shape: tuple[int, ...]) -> ArrayWriter:
        return self._stack.enter_context(ArrayWriter(self.folder / name, shape))

    def _table(self, name: str, columns: tuple[str, ...]) -> Any:
        stream = self._stack.enter_context((self.folder / name).open("w", encoding="utf-8", newline=""))
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(columns)
        return writer


def _box_rows(row: int, loaded: Loaded) -> Iterator[tuple[object, ...]]:
    if loaded.boxes is not None:
        for box, label in zip(loaded.boxes.xyxy.tolist(), loaded.boxes.labels.tolist(), strict=True):
            yield (row, *box, label)
