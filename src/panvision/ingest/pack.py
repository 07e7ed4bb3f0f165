"""Raw images and labels in, packed arrays out: the work of the prepare stage."""

import os
import shutil
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from panvision.files import write_json, write_rows
from panvision.ingest.arrays import ArrayWriter
from panvision.ingest.boxes import PlacedBoxes, place_boxes
from panvision.ingest.coco import read_detection
from panvision.ingest.fingerprint import file_hash, perceptual_hash, pixel_hash
from panvision.ingest.folders import read_classification, read_segmentation
from panvision.ingest.layout import ACCEPTED, Reading, Sample, photo_name
from panvision.ingest.packed import BOX_COLUMNS, Task
from panvision.ingest.problems import IngestError, Problem, describe, problem, write_problems
from panvision.ingest.settings import DataSettings
from panvision.ingest.truth import Mask, MaskSizeError, read_mask
from panvision.pixels import ImageError, ImageTooLargeError, Picture, RgbArray, read_picture, resize_rgb

# Columns of index.csv. `group` is the photo that the file was made from, `roboflow` whether an export says so
# (a plain stem such as 0001 means nothing across folders); `split` is the user's own, if the folders give one.
INDEX_COLUMNS = ("file", "width", "height", "sha256", "pixels", "phash", "group", "roboflow", "split")
LABEL_COLUMNS: dict[Task, tuple[str, ...]] = {
    "segmentation": ("mask", "pan_fraction"),
    "detection": ("boxes",),
    "classification": ("label",),
}


@dataclass(frozen=True)
class PackResult:
    """How many images were packed, and every problem that was found."""

    images: int
    problems: list[Problem]


@dataclass(frozen=True)
class _Packed:
    """One image, decoded and labelled; without `image` it cannot be used, and `problems` says why."""

    problems: list[Problem]
    image: RgbArray | None = None
    index: tuple[object, ...] = ()
    mask: npt.NDArray[np.uint8] | None = None
    boxes: PlacedBoxes | None = None


@dataclass
class _Tables:
    """What the arrays do not hold, row by row."""

    index: list[tuple[object, ...]] = field(default_factory=list)
    boxes: list[tuple[object, ...]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


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
    reading = _read(task, root)
    # Named the same each time, so that what a killed run left is cleared by the next one.
    scratch = out.parent / f".{out.name}.partial"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        tables = _pack(task, reading, root, settings, scratch)
        if not tables.index:
            raise IngestError(f"{root}: nothing usable found; {_expected(task)}\n{describe(tables.problems)}".rstrip())
        _write_tables(task, reading.classes, tables, scratch)
        if out.exists():
            shutil.rmtree(out)
        scratch.rename(out)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return PackResult(len(tables.index), sorted(set(tables.problems)))


def _expected(task: Task) -> str:
    return (
        f"data.root must hold {task}/ with {ACCEPTED[task]}, or, as Roboflow exports it, with the folders "
        "train/, valid/ and test/ (each in that form, or with the files directly in it)"
    )


def _read(task: Task, root: Path) -> Reading:
    if task == "segmentation":
        return read_segmentation(root)
    return read_detection(root) if task == "detection" else read_classification(root)


def _pack(task: Task, reading: Reading, root: Path, settings: DataSettings, folder: Path) -> _Tables:
    """Decode every sample once, in parallel but in order, and stream the arrays into `folder`."""
    side = settings.image_size
    tables = _Tables(problems=list(reading.problems))
    with ExitStack() as stack:
        # Pillow's warnings (damaged metadata, sizes near its own limit) say nothing that problems.csv does not.
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        images = stack.enter_context(ArrayWriter(folder / "images.npy", (side, side, 3)))
        masks = stack.enter_context(ArrayWriter(folder / "masks.npy", (side, side))) if task == "segmentation" else None
        for packed in _ordered(partial(_load, root=root, settings=settings), reading.samples):
            tables.problems += packed.problems
            if packed.image is None:
                continue
            images.append(packed.image)
            if masks is not None and packed.mask is not None:
                masks.append(packed.mask)
            if packed.boxes is not None:
                row = len(tables.index)
                tables.boxes += [
                    (row, *box, label)
                    for box, label in zip(packed.boxes.xyxy.tolist(), packed.boxes.labels.tolist(), strict=True)
                ]
            tables.index.append(packed.index)
    return tables


def _ordered(load: Callable[[Sample], _Packed], samples: Iterable[Sample]) -> Iterator[_Packed]:
    """Map in threads (Pillow and hashlib release the GIL), in order, with few results waiting at a time."""
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    waiting: deque[Future[_Packed]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for sample in samples:
            waiting.append(pool.submit(load, sample))
            if len(waiting) >= 4 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _load(sample: Sample, root: Path, settings: DataSettings) -> _Packed:
    """Decode and check one sample."""
    file = sample.file
    try:
        content = (root / file).read_bytes()
        picture = read_picture(file, max_pixels=settings.max_pixels, content=content)
    except (ImageError, OSError) as error:
        code = "image_too_large" if isinstance(error, ImageTooLargeError) else "image_unreadable"
        return _Packed([problem(code, file, _reason(error, file))])
    problems: list[Problem] = []
    if picture.orientation != 1:
        problems.append(problem("exif_rotated", file, f"was turned by its EXIF orientation {picture.orientation}"))
    mask, boxes = None, None
    labels: tuple[object, ...] = (sample.label,)
    if sample.mask:
        read, faults = _load_mask(sample, picture, root, settings.max_pixels)
        problems += faults
        if read is not None:
            mask = _resize_mask(read.pan, settings.image_size)
            labels = (sample.mask, round(float(read.pan.mean()), 6))
    elif sample.boxes is not None:
        boxes, faults = place_boxes(sample.boxes, picture, file, zero_area=settings.zero_area_boxes)
        problems += faults
        labels = (len(boxes.labels),)
    if any(found.severity == "error" for found in problems):
        return _Packed(problems)
    return _Packed(
        problems,
        image=resize_rgb(picture.rgb, settings.image_size),
        index=(*_index_row(sample, picture, content), *labels),
        mask=mask,
        boxes=boxes,
    )


def _index_row(sample: Sample, picture: Picture, content: bytes) -> tuple[object, ...]:
    """The values of INDEX_COLUMNS."""
    height, width = picture.rgb.shape[:2]
    photo, roboflow = photo_name(sample.name)
    hashes = (file_hash(content), pixel_hash(picture.rgb), perceptual_hash(picture.rgb))
    return (sample.file, width, height, *hashes, photo, int(roboflow), sample.split)


def _load_mask(sample: Sample, picture: Picture, root: Path, max_pixels: int) -> tuple[Mask | None, list[Problem]]:
    path = root / sample.mask
    try:
        mask = read_mask(path, stored_size=picture.stored_size, orientation=picture.orientation, max_pixels=max_pixels)
    except MaskSizeError as error:
        return None, [problem("mask_size", sample.mask, str(error))]
    except ImageError as error:
        return None, [problem("mask_unreadable", sample.mask, _reason(error, str(path)))]
    problems: list[Problem] = []
    if mask.turned:
        problems.append(problem("mask_rotated", sample.mask, f"was turned with its image {sample.file}"))
    if mask.between > 0:
        share = f"{mask.between:.1%} of the pixels are neither background nor the brightest value"
        problems.append(problem("mask_not_binary", sample.mask, share))
    if not mask.pan.any():
        problems.append(problem("mask_empty", sample.mask, "marks no pan"))
    elif mask.pan.all():
        problems.append(problem("mask_full", sample.mask, "marks the whole picture as pan"))
    return mask, problems


def _resize_mask(pan: npt.NDArray[np.uint8], side: int) -> npt.NDArray[np.uint8]:
    """(H, W) 0/1 to (side, side) 0/1, nearest neighbour."""
    return np.asarray(Image.fromarray(pan).resize((side, side), Image.Resampling.NEAREST))


def _reason(error: Exception, name: str) -> str:
    """The message without the name that the problem states anyway, and without paths of this machine."""
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return str(error).removeprefix(f"{name}: ")


def _write_tables(task: Task, classes: list[str], tables: _Tables, folder: Path) -> None:
    write_rows(folder / "index.csv", (*INDEX_COLUMNS, *LABEL_COLUMNS[task]), tables.index)
    if task == "detection":
        write_rows(folder / "boxes.csv", BOX_COLUMNS, tables.boxes)
    write_json(folder / "classes.json", {"classes": classes})
    write_problems(folder / "problems.csv", tables.problems)
