"""Many images through the predictor, batch by batch, so that memory does not grow with their number."""

import contextlib
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from panvision.core.cores import count_cores
from panvision.core.files import replacing
from panvision.inference.backend import PredictorError
from panvision.inference.explanation import Explanation
from panvision.inference.inputs import Failure, ImageSource, find_images
from panvision.inference.predictor import Predictor
from panvision.inference.records import COCO, Records, entry_of, write_coco, write_whole
from panvision.inference.results import Result
from panvision.photos.drawing import draw_result
from panvision.photos.heat import draw_explanation
from panvision.photos.pixels import ImageError, RgbArray, resize_rgb

# Ends of the names of masks, drawings and drawn explanations.
_MASK, _DRAWN, _EXPLAINED = "_mask.png", "_pred.png", "_explain.png"


@dataclass(frozen=True)
class DirectoryOptions:
    """Options of `predict_directory`.

    Attributes:
        batch_size: images in one pass through the network, at least 1.
        workers: threads that decode images and write masks; 0: one per core.
        resume: skip the images that an interrupted run has finished.
        coco: also write predictions.coco.json.
        recursive: include the images in sub-folders.
        explain: also draw which pixels raised the scores; only for a checkpoint.
    """

    batch_size: int = 8
    workers: int = 0
    resume: bool = False
    coco: bool = False
    recursive: bool = False
    explain: bool = False


@dataclass(frozen=True)
class _Decoded:
    """A decoded image: the network's input, the original size, and the pixels if they are to be drawn on."""

    source: ImageSource
    name: str
    square: RgbArray
    size: tuple[int, int]
    pixels: RgbArray | None


@dataclass(frozen=True)
class Outcome:
    """Find what a run did not write.

    Attributes:
        failures: files that were left out or could not be read, by name.
        leftover: files of an earlier run in the output folder, which this run did not replace.
    """

    failures: list[Failure]
    leftover: list[str]


def predict_directory(
    predictor: Predictor,
    source: str | Path,
    output_dir: str | Path | None = None,
    *,
    visualize: bool = False,
    options: DirectoryOptions | None = None,
    on_result: Callable[[Result], None] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Outcome:
    """Predict every image of a folder, a file, a ZIP or a pattern, and write the results.

    Images are decoded by several threads and predicted in batches; only a few batches are in memory. `output_dir`
    receives predictions.jsonl, a line per finished image; predictions.json at the end (boxes, states, names of the
    masks, failed files); `<stem>_mask.png` per image (if the model predicts masks); with `visualize`
    `<stem>_pred.png`, and with `options.explain` `<stem>_explain.png`. For images with the same stem (a.jpg, a.png)
    the whole name is used (a.jpg_mask.png). Outputs of images in sub-folders are in such folders, too.

    Args:
        predictor: the model with its thresholds.
        source: the folder, an image, a ZIP of images, or a pattern such as `photos/*/*.jpg`.
        output_dir: folder to write to; None writes nothing.
        visualize: also write drawn images.
        options: batches, threads, resuming, sub-folders.
        on_result: called with each result of this run, in the order of the names.
        on_progress: called with the number of finished images and of all images; first with those of an earlier run.

    Returns:
        The files that were left out or could not be read, and files of an earlier run.

    Raises:
        PredictorError: there is no image, the output folder does not fit, the run to resume used another model or
            other settings, or the model cannot be explained.
    """
    options = options or DirectoryOptions()
    _check_output(Path(source), output_dir, visualize=visualize, options=options)
    if options.explain:
        predictor.check_explains()
    inputs = find_images(source, recursive=options.recursive, without=output_dir)
    plan = _Plan(predictor, None if output_dir is None else Path(output_dir), visualize, options)
    named = list(zip(inputs.images, output_names([image.name for image in inputs.images]), strict=True))
    failures = list(inputs.skipped)
    with contextlib.ExitStack() as stack:
        records = None if plan.folder is None else stack.enter_context(plan.records())
        todo = [pair for pair in named if records is None or pair[0].name not in records]
        if records is not None:
            records.add(skipped.entry for skipped in inputs.skipped)
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
            order = sorted([*(one.name for one in inputs.images), *(one.name for one in inputs.skipped)])
            write_whole(plan.folder, records, order)
            if options.coco:
                write_coco(plan.folder, records, order, predictor.det_class_names)
    failures.sort(key=lambda failure: failure.name)
    failed = {failure.name for failure in failures}
    written = {file for image, name in named if image.name not in failed for file in plan.files(name)}
    return Outcome(failures, [] if plan.folder is None else _leftover(plan.folder, written, options))


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
        drawn = {"visualize": self.visualize} | ({"explain": True} if self.options.explain else {})
        return Records(self.folder, self.predictor, drawn=drawn, resume=self.options.resume)

    def files(self, name: str) -> Iterator[str]:
        """Yield the names of an image's mask and drawings."""
        if "segmentation" in self.predictor.tasks:
            yield f"{name}{_MASK}"
        if self.visualize:
            yield f"{name}{_DRAWN}"
        if self.options.explain:
            yield f"{name}{_EXPLAINED}"

    def read(self, source: ImageSource, name: str) -> "_Decoded | Failure":
        """Decode an image and resize it for the network."""
        try:
            image = source.read(self.predictor.max_pixels)
        except ImageError as error:
            return Failure(source.name, str(error).removeprefix(f"{source.path}: "))
        square = resize_rgb(image, self.predictor.image_size)
        size = image.shape[1], image.shape[0]
        return _Decoded(source, name, square, size, image if self.visualize or self.options.explain else None)

    def predict(self, decoded: Sequence[_Decoded]) -> list[Result]:
        """Predict some images in one pass through the network."""
        if not decoded:
            return []
        squares = np.stack([image.square for image in decoded])
        results = self.predictor.predict_squares(squares, [image.size for image in decoded])
        for image, result in zip(decoded, results, strict=True):
            result["image_name"], result["image_path"] = image.source.name, image.source.path
        return results

    def explain(self, image: _Decoded, result: Result) -> Explanation | None:
        """Return the maps that are to be drawn; None without `explain`."""
        return self.predictor.explain(image.square, result, image.size) if self.options.explain else None

    def write(self, image: _Decoded, result: Result, explanation: Explanation | None) -> None:
        """Write the mask and the drawings of an image."""
        if self.folder is None:
            return
        if "segmentation" in result:
            _write_png(self.folder / f"{image.name}{_MASK}", result["segmentation"]["mask"])
        if image.pixels is not None and self.visualize:
            _write_png(self.folder / f"{image.name}{_DRAWN}", draw_result(image.pixels, result))
        if image.pixels is not None and explanation is not None:
            drawn = draw_explanation(image.pixels, result, explanation)
            _write_png(self.folder / f"{image.name}{_EXPLAINED}", drawn)


@dataclass(frozen=True)
class _Finished:
    """A finished image whose line is not yet written."""

    result: Result
    entry: dict[str, Any]


def _batches(plan: _Plan, todo: Sequence[tuple[ImageSource, str]]) -> Iterator[list[_Finished | Failure]]:
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
                    written[1].append(pool.submit(plan.write, image, result, plan.explain(image, result)))
                    written[0].append(_Finished(result, entry_of(result, *image.size, f"{image.name}{_MASK}")))
            yield _after(*written)
        finally:
            # After an error, or when the caller stops, waiting jobs are cancelled.
            pool.shutdown(wait=False, cancel_futures=True)


def _after(found: list[_Finished | Failure], jobs: list[Future[None]]) -> list[_Finished | Failure]:
    """Wait for the jobs and return the images."""
    for job in jobs:
        job.result()
    return found


def output_names(names: Sequence[str]) -> list[str]:
    """Name the outputs of each image: without its suffix, or by its whole name if another image has the same.

    Names that differ only in case count as the same, because some file systems keep only one of them.
    """
    stems = [str(PurePosixPath(name).with_suffix("")) for name in names]
    counts = Counter(stem.casefold() for stem in stems)
    given: list[str] = []
    taken: set[str] = set()
    for whole, stem in zip(names, stems, strict=True):
        name = stem if counts[stem.casefold()] == 1 else whole
        while name.casefold() in taken:
            name += "_"
        taken.add(name.casefold())
        given.append(name)
    return given


def earlier_files(folder: str, leftover: Sequence[str]) -> str:
    """Return the sentence that names files of an earlier run."""
    count = f"{len(leftover)} file{'s' * (len(leftover) > 1)} of an earlier run"
    return f"{folder}: {count} beside the new ones, first {leftover[0]}; remove them, or name another output folder"


def _leftover(folder: Path, written: set[str], options: DirectoryOptions) -> list[str]:
    """Return the outputs beside those that this run has written, by name."""
    parents = {folder, *((folder / file).parent for file in written)}
    ends = (path for parent in parents for end in (_MASK, _DRAWN, _EXPLAINED) for path in parent.glob(f"*{end}"))
    found = {path.relative_to(folder).as_posix() for path in ends}
    old_coco = [COCO] if not options.coco and (folder / COCO).exists() else []
    return sorted([*(found - written), *old_coco])


def _check_output(
    image_dir: Path, output_dir: str | Path | None, *, visualize: bool, options: DirectoryOptions
) -> None:
    if options.batch_size < 1 or options.workers < 0:
        raise PredictorError(
            f"batch_size must be at least 1 and workers at least 0, found {options.batch_size} and {options.workers}"
        )
    if output_dir is None:
        asked = {
            "visualize": visualize,
            "resume": options.resume,
            "coco": options.coco,
            "explain": options.explain,
        }
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
