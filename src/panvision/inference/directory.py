"""A folder of images through the predictor, batch by batch, so that memory does not grow with the folder."""

import contextlib
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from panvision.core.cores import count_cores
from panvision.core.files import replacing
from panvision.inference.backend import PredictorError
from panvision.inference.predictor import Predictor
from panvision.inference.records import Records, entry_of, write_coco, write_whole
from panvision.inference.results import Result
from panvision.photos.drawing import draw_result
from panvision.photos.pixels import IMAGE_SUFFIXES, ImageError, RgbArray, read_image, resize_rgb


@dataclass(frozen=True)
class Failure:
    """An image that could not be read.

    Attributes:
        name: its file name.
        reason: why.
    """

    name: str
    reason: str

    @property
    def entry(self) -> dict[str, Any]:
        """Return its line."""
        return {"image_name": self.name, "failed": self.reason}


@dataclass(frozen=True)
class DirectoryOptions:
    """Options of `predict_directory`.

    Attributes:
        batch_size: images in one pass through the network, at least 1.
        workers: threads that decode images and write masks; 0: one per core.
        resume: skip the images that an interrupted run has finished.
        coco: also write predictions.coco.json.
    """

    batch_size: int = 8
    workers: int = 0
    resume: bool = False
    coco: bool = False


@dataclass(frozen=True)
class _Decoded:
    """A decoded image: the network's input, the original size, and the pixels if they are to be drawn on."""

    path: Path
    name: str
    square: RgbArray
    size: tuple[int, int]
    pixels: RgbArray | None


def predict_directory(
    predictor: Predictor,
    image_dir: str | Path,
    output_dir: str | Path | None = None,
    *,
    visualize: bool = False,
    options: DirectoryOptions | None = None,
    on_result: Callable[[Result], None] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Failure]:
    """Predict every image of a folder and write the results.

    Images are decoded by several threads and predicted in batches; only a few batches are in memory. `output_dir`
    receives predictions.jsonl, a line per finished image; predictions.json at the end (boxes, states, names of the
    masks, failed files); `<stem>_mask.png` per image (if the model predicts masks) and, with `visualize`,
    `<stem>_pred.png`. For images with the same stem (a.jpg, a.png) the whole name is used (a.jpg_mask.png).

    Args:
        predictor: the model with its thresholds.
        image_dir: the folder; its subfolders are not read.
        output_dir: folder to write to; None writes nothing.
        visualize: also write drawn images.
        options: batches, threads, resuming.
        on_result: called with each result of this run, in the order of the names.
        on_progress: called with the number of finished images and of all images; first with those of an earlier run.

    Returns:
        The images that could not be read.

    Raises:
        PredictorError: the folder is missing or has no image, the output folder does not fit, or the run to resume used
            another model or other settings.
    """
    options = options or DirectoryOptions()
    paths = list_images(image_dir)
    _check_output(Path(image_dir), output_dir, visualize=visualize, options=options)
    plan = _Plan(predictor, None if output_dir is None else Path(output_dir), visualize, options)
    named = list(zip(paths, output_names(paths), strict=True))
    failures: list[Failure] = []
    with contextlib.ExitStack() as stack:
        records = None if plan.folder is None else stack.enter_context(plan.records())
        todo = [pair for pair in named if records is None or pair[0].name not in records]
        done = len(named) - len(todo)
        report = on_progress or (lambda done, total: None)
        report(done, len(named))
        for batch in _batches(plan, todo):
            failures += [found for found in batch if isinstance(found, Failure)]
            if records is not None:
                records.add(found.entry for found in batch)
            for found in batch:
                if on_result is not None and not isinstance(found, Failure):
                    on_result(found.result)
            done += len(batch)
            report(done, len(named))
        if plan.folder is not None and records is not None:
            order = [path.name for path in paths]
            write_whole(plan.folder, records, order)
            if options.coco:
                write_coco(plan.folder, records, order, predictor.det_class_names)
    return failures


@dataclass(frozen=True)
class _Plan:
    """The steps for every image."""

    predictor: Predictor
    folder: Path | None
    visualize: bool
    options: DirectoryOptions

    def records(self) -> Records:
        """Open the lines in the output folder."""
        if self.folder is None:
            raise PredictorError("records need an output folder")
        return Records(self.folder, self.predictor, visualize=self.visualize, resume=self.options.resume)

    def read(self, path: Path, name: str) -> "_Decoded | Failure":
        """Decode an image and resize it for the network."""
        try:
            image = read_image(path, max_pixels=self.predictor.max_pixels)
        except ImageError as error:
            return Failure(path.name, str(error).removeprefix(f"{path}: "))
        square = resize_rgb(image, self.predictor.image_size)
        size = image.shape[1], image.shape[0]
        return _Decoded(path, name, square, size, image if self.visualize else None)

    def predict(self, decoded: Sequence[_Decoded]) -> list[Result]:
        """Predict some images in one pass through the network."""
        if not decoded:
            return []
        squares = np.stack([image.square for image in decoded])
        results = self.predictor.predict_squares(squares, [image.size for image in decoded])
        for image, result in zip(decoded, results, strict=True):
            result["image_name"], result["image_path"] = image.path.name, str(image.path)
        return results

    def write(self, image: _Decoded, result: Result) -> None:
        """Write the mask and the drawing of an image."""
        if self.folder is None:
            return
        if "segmentation" in result:
            _write_png(self.folder / f"{image.name}_mask.png", result["segmentation"]["mask"])
        if image.pixels is not None:
            _write_png(self.folder / f"{image.name}_pred.png", draw_result(image.pixels, result))


@dataclass(frozen=True)
class _Finished:
    """A finished image whose line is not yet written."""

    result: Result
    entry: dict[str, Any]


def _batches(plan: _Plan, todo: Sequence[tuple[Path, str]]) -> Iterator[list[_Finished | Failure]]:
    """Yield batches in order. While one is predicted, the next is decoded and the last one written."""
    workers, size = plan.options.workers or count_cores(), plan.options.batch_size
    with ThreadPoolExecutor(workers, thread_name_prefix="panvision-image") as pool:
        try:
            waiting: deque[Future[_Decoded | Failure]] = deque()
            left = iter(todo)
            written: tuple[list[_Finished | Failure], list[Future[None]]] = ([], [])
            while True:
                waiting.extend(
                    pool.submit(plan.read, *pair) for pair in islice(left, 2 * size + workers - len(waiting))
                )
                if not waiting:
                    break
                batch = [waiting.popleft().result() for _ in range(min(size, len(waiting)))]
                results = iter(plan.predict([image for image in batch if isinstance(image, _Decoded)]))
                yield _after(*written)
                written = [], []
                for image in batch:
                    if isinstance(image, Failure):
                        written[0].append(image)
                        continue
                    result = next(results)
                    written[1].append(pool.submit(plan.write, image, result))
                    written[0].append(_Finished(result, entry_of(result, *image.size, f"{image.name}_mask.png")))
            yield _after(*written)
        finally:
            # After an error, or when the caller stops, waiting jobs are cancelled.
            pool.shutdown(wait=False, cancel_futures=True)


def _after(found: list[_Finished | Failure], jobs: list[Future[None]]) -> list[_Finished | Failure]:
    """Wait for the jobs and return the images."""
    for job in jobs:
        job.result()
    return found


def list_images(image_dir: str | Path) -> list[Path]:
    """List the images directly in a folder, by name, broken links included and hidden files excluded.

    Raises:
        PredictorError: the folder is missing or has no image.
    """
    folder = Path(image_dir)
    if not folder.is_dir():
        raise PredictorError(f"{folder}: no such folder of images")
    paths = sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in IMAGE_SUFFIXES
        and not path.name.startswith(".")
        and (path.is_file() or (path.is_symlink() and not path.exists()))
    )
    if not paths:
        raise PredictorError(f"{folder}: has no images ({', '.join(sorted(IMAGE_SUFFIXES))})")
    return paths


def output_names(paths: Sequence[Path]) -> list[str]:
    """Name the outputs of each image: its stem, or its whole name if another image has the same stem.

    Names that differ only in case count as the same, because some file systems keep only one of them.
    """
    stems = Counter(path.stem.casefold() for path in paths)
    names: list[str] = []
    taken: set[str] = set()
    for path in paths:
        name = path.stem if stems[path.stem.casefold()] == 1 else path.name
        while name.casefold() in taken:
            name += "_"
        taken.add(name.casefold())
        names.append(name)
    return names


def _check_output(
    image_dir: Path, output_dir: str | Path | None, *, visualize: bool, options: DirectoryOptions
) -> None:
    if options.batch_size < 1 or options.workers < 0:
        raise PredictorError(
            f"batch_size must be at least 1 and workers at least 0, found {options.batch_size} and {options.workers}"
        )
    if output_dir is None:
        asked = {"visualize": visualize, "resume": options.resume, "coco": options.coco}
        if any(asked.values()):
            raise PredictorError(f"{' and '.join(key for key in asked if asked[key])} needs output_dir")
        return
    if Path(output_dir).resolve() == image_dir.resolve():
        raise PredictorError(f"{output_dir}: the output folder must not be the folder of the images")
    if Path(output_dir).exists() and not Path(output_dir).is_dir():
        raise PredictorError(f"{output_dir}: is a file; give a folder to write to")


def _write_png(path: Path, pixels: npt.NDArray[np.uint8]) -> None:
    with replacing(path) as scratch:
        Image.fromarray(pixels).save(scratch, format="PNG")
