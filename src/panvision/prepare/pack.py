"""The work of the prepare stage: raw images and labels in, packed arrays and tables out."""

import io
import shutil
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from panvision.core.files import write_json
from panvision.core.tasks import Dataset
from panvision.dataset.descriptors import SIDE
from panvision.dataset.packed import ARRAYS, BOX_COLUMNS
from panvision.dataset.paths import is_absent
from panvision.dataset.problems import IngestError, Problem, describe, write_problems
from panvision.dataset.tables import GrowingTable
from panvision.photos.settings import DataSettings
from panvision.prepare.arrays import ArrayFile
from panvision.prepare.formats.layout import ACCEPTED, Reading
from panvision.prepare.formats.readers import read_set
from panvision.prepare.formats.split_lists import follow_split_lists
from panvision.prepare.load import INDEX_COLUMNS, LABEL_COLUMNS, Facts, Loaded
from panvision.prepare.whole import check_dataset
from panvision.prepare.workers import load_samples


@dataclass(frozen=True)
class PackResult:
    """The number of packed images, and every problem that was found."""

    images: int
    problems: list[Problem]


def prepare(task: Dataset, settings: DataSettings, out: str | Path) -> PackResult:
    """Read one raw dataset, check it, and write its packed arrays as a whole folder or not at all.

    A dataset whose folder is absent or empty becomes one without images: `validate` stops if a task needs it. Images
    with an error are left out of the arrays and listed in problems.csv; validate stops on them.

    Args:
        task: the dataset below `settings.root`.
        settings: the `data` section.
        out: folder to write; an earlier one is replaced.

    Raises:
        IngestError: the folder of the datasets is missing, or nothing in this one can be used.
        WorkerError: a process that loads images was killed.
        OSError: the arrays cannot be written.
    """
    root, out = Path(settings.root) / task, Path(out)
    if not root.parent.is_dir():
        raise IngestError(f"{root.parent}: no such folder; {_expected(task)}")
    absent = is_absent(root)
    reading = Reading() if absent else follow_split_lists(read_set(task, root, settings.pan_names), root)
    # The names are fixed, so that the next run removes what a killed one left.
    scratch, old = out.parent / f".{out.name}.partial", out.parent / f".{out.name}.old"
    shutil.rmtree(scratch, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        result = _pack(task, reading, root, settings, scratch)
        if not result.images and not absent:
            found = describe(result.problems)
            raise IngestError(f"{root}: nothing usable found; {_expected(task)}\n{found}".rstrip(), result.problems)
        # Swap folders by rename, so that the final name is never partial.
        if out.exists():
            out.rename(old)
        scratch.rename(out)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
    return result


def _expected(task: Dataset) -> str:
    return (
        f"data.root must hold {task}/ with {ACCEPTED[task]}, or, as Roboflow exports it, with the folders "
        "train/, valid/ and test/ (each in that form, or with the files directly in it)"
    )


def _pack(task: Dataset, reading: Reading, root: Path, settings: DataSettings, folder: Path) -> PackResult:
    """Decode every sample once, and write the arrays and tables into `folder`."""
    problems = list(reading.problems)
    arrays = _Arrays(task, settings.image_size, folder)
    tables = _Tables(task, folder)
    facts: list[Facts | None] = []
    for number, packed in enumerate(load_samples(reading.samples, root, settings, arrays)):
        problems += packed.problems
        facts.append(packed.facts)
        if packed.index:
            tables.append(number, packed)
    tables.flush()
    arrays.finish(tables.rows)
    problems = check_dataset(reading.samples, facts, problems, settings.pan_names)
    write_json(folder / "classes.json", {"classes": reading.classes})
    write_problems(folder / "problems.csv", problems)
    return PackResult(len(tables.rows), sorted(set(problems)))


@dataclass(frozen=True, slots=True)
class _Packed:
    """The rest of a sample once its pixels are in the arrays; without `index` it cannot be used.

    Attributes:
        problems, facts, index: like those of `Loaded`.
        boxes: x1, y1, x2, y2 and the label of each box.
        drawn: the PNG file of a mask that was drawn from outlines, at the image's own size.
    """

    problems: list[Problem]
    facts: Facts | None
    index: tuple[object, ...] = ()
    boxes: tuple[tuple[object, ...], ...] = ()
    drawn: bytes = b""


@dataclass(frozen=True)
class _Arrays:
    """The arrays of a packed dataset. A call with some samples writes their pixels, each at its number's place."""

    task: Dataset
    side: int
    folder: Path

    def __call__(self, first: int, samples: Iterable[Loaded]) -> list[_Packed]:
        packed: list[_Packed] = []
        with ExitStack() as stack:
            files = [stack.enter_context(file) for file in self._files()]
            for number, loaded in enumerate(samples, first):
                for kind, file in zip(self._kinds(), files, strict=True):
                    if (row := getattr(loaded, kind)) is not None:
                        file.write(number, row)
                packed.append(_without_pixels(loaded))
        return packed

    def finish(self, rows: Sequence[int]) -> None:
        """Keep these samples, in their order, and complete the files."""
        for file in self._files():
            with file:
                file.finish(rows)

    def _kinds(self) -> tuple[str, ...]:
        return tuple(ARRAYS) if self.task == "segmentation" else ("image", "look")

    def _files(self) -> list[ArrayFile]:
        square = (self.side, self.side)
        shapes = {"image": (*square, 3), "look": (SIDE, SIDE), "coverage": square}
        return [ArrayFile(self.folder / ARRAYS[kind], shapes[kind]) for kind in self._kinds()]


def _without_pixels(loaded: Loaded) -> _Packed:
    if loaded.image is None:
        return _Packed(loaded.problems, loaded.facts)
    boxes: tuple[tuple[object, ...], ...] = ()
    if loaded.boxes is not None:
        pairs = zip(loaded.boxes.xyxy.tolist(), loaded.boxes.labels.tolist(), strict=True)
        boxes = tuple((*box, label) for box, label in pairs)
    drawn = io.BytesIO()
    if loaded.full_mask is not None:
        Image.fromarray(loaded.full_mask * 255).save(drawn, "PNG")
    return _Packed(loaded.problems, loaded.facts, loaded.index, boxes, drawn.getvalue())


class _Tables:
    """The open tables of a packed dataset.

    Attributes:
        rows: the numbers of the samples that were written.
    """

    def __init__(self, task: Dataset, folder: Path) -> None:
        self.rows: list[int] = []
        self._folder = folder
        self._index = GrowingTable(folder / "index.csv", (*INDEX_COLUMNS, *LABEL_COLUMNS[task]))
        self._boxes = GrowingTable(folder / "boxes.csv", BOX_COLUMNS) if task == "detection" else None
        self._task = task

    def append(self, number: int, packed: _Packed) -> None:
        """Write one usable sample."""
        mask_file = self._save_drawn(packed)
        self._index.append((*packed.index, *((mask_file,) if self._task == "segmentation" else ())))
        if self._boxes:
            for box in packed.boxes:
                self._boxes.append((len(self.rows), *box))
        self.rows.append(number)

    def flush(self) -> None:
        """Write what is still held in memory."""
        self._index.flush()
        if self._boxes:
            self._boxes.flush()

    def _save_drawn(self, packed: _Packed) -> str:
        """Save a mask that was drawn from outlines at the image's own size, because no file holds it yet."""
        if not packed.drawn:
            return ""
        path = self._folder / "drawn" / f"{len(self.rows):06}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(packed.drawn)
        return path.relative_to(self._folder).as_posix()
