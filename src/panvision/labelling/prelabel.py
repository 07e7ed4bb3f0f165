"""Images through a model, or several that vote, to proposed labels in a dataset's layout."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import PurePosixPath
from typing import NamedTuple

from panvision.core.tasks import Dataset
from panvision.inference.backend import ModelInfo
from panvision.inference.directory import output_names
from panvision.inference.inputs import Failure, ImageSource
from panvision.labelling.answers import Answer, Panel, in_batches
from panvision.labelling.forms import CLASS_FOLDERS, label_forms
from panvision.labelling.labels import PAN, Classes, Labels, Marked
from panvision.labelling.output import Output
from panvision.labelling.polygons import Outlines, outline_mask
from panvision.labelling.voting import Vote, vote
from panvision.labelling.writers import Writer, WriterError
from panvision.labelling.writers.writer import UNSAFE
from panvision.photos.pixels import ImageError, RgbArray, read_picture

# Bytes of the name of an image, and of a class: file systems allow 255, also for names of scratch files.
_LONGEST, _LONGEST_CLASS = 230, 200


class Photo(NamedTuple):
    """A decoded image: its file's name in the dataset, its bytes, its pixels (H, W, 3) uint8 RGB, and its origin."""

    file: str
    content: bytes
    pixels: RgbArray
    source: str = ""


@dataclass(frozen=True)
class PrelabelOptions:
    """Options of `prelabel`.

    Attributes:
        tolerance: distance in pixels by which a polygon may miss the boundary of a mask.
        least_area: smaller areas and holes of a mask get no polygon; a fraction of the image.
        batch_size: images in one pass through the network.
    """

    tolerance: float = 1.0
    least_area: float = 0.0
    batch_size: int = 8


@dataclass
class Summary:
    """Counts of a run.

    Attributes:
        images: number of images.
        boxes: number of boxes by class.
        polygons: number of polygons.
        distance: largest distance in pixels of a mask's corner from its polygon.
        ious: overlap of each mask, specks included, with its polygons.
        specks: number of small areas and holes of masks that are left out.
        classes: number of images by class.
        without_class: images that the model does not answer.
    """

    images: int = 0
    boxes: Counter[str] = field(default_factory=Counter)
    polygons: int = 0
    distance: float = 0.0
    ious: list[float] = field(default_factory=list)
    specks: int = 0
    classes: Counter[str] = field(default_factory=Counter)
    without_class: int = 0

    def add(self, labels: Labels, outlines: Outlines, writers: Mapping[Dataset, Writer]) -> None:
        """Count the labels of an image that are written."""
        self.images += 1
        if "detection" in writers:
            self.boxes.update(box.name for box in labels.boxes)
        if "segmentation" in writers and writers["segmentation"].has_shapes:
            self.polygons += len(outlines.polygons)
            self.distance = max(self.distance, outlines.distance)
            self.ious.append(outlines.iou)
            self.specks += outlines.specks
        if "classification" in writers:
            self.classes.update([labels.label] if labels.label else [])
            self.without_class += not labels.label


def safe_names(names: Sequence[str], output: Output | None = None) -> dict[str, str]:
    """Return a file name for each image by its path: without folders, of another stem than all others.

    Characters that some system's file names cannot have become `_`.

    Args:
        names: paths of the images.
        output: an image in it keeps its name, and others get another stem than all images in it.
    """
    flat = {name: "".join("_" if each in UNSAFE or not each.isprintable() else each for each in name) for name in names}
    # An image that has its name already comes before one that only gets it.
    names = sorted(names, key=lambda name: flat[name] != name)
    known: dict[str, str] = {}
    for name in names:
        # As `output_names` makes them.
        forms = (flat[name], *(f"{flat[name]}{end}{PurePosixPath(name).suffix}" for end in ("", "_")))
        if form := next((form for form in forms if output and output.named(form) and form not in known), None):
            known[form] = name
    kept = {name: form for form, name in known.items()}
    rest = [name for name in names if name not in kept]
    # Of names that differ in their suffix only, `output_names` uses the whole.
    others = [f"{stem}.image" for stem in sorted(output.stems)] if output else []
    stems = output_names([*others, *(flat[name] for name in rest)])[len(others) :]
    return kept | {name: stem + PurePosixPath(name).suffix for name, stem in zip(rest, stems, strict=True)}


def read_photos(
    sources: Iterable[ImageSource], names: Mapping[str, str], max_pixels: int, on_failure: Callable[[Failure], None]
) -> Iterator[Photo]:
    """Read images one at a time; those that cannot be read are reported and left out."""
    for source in sources:
        try:
            content = source.content(max_pixels)
            pixels = read_picture(source.path, max_pixels=max_pixels, content=content).rgb
        except ImageError as error:
            on_failure(Failure(source.name, str(error).removeprefix(f"{source.path}: ")))
            continue
        yield Photo(names[source.name], content, pixels, source.path)


def check_output(
    output: Output, writers: Mapping[Dataset, Writer], info: ModelInfo, names: Collection[str], again: Iterable[Photo]
) -> None:
    """Refuse labels that a folder cannot take, before anything is written.

    Args:
        output: the folder.
        writers: of each dataset.
        info: has the classes of the labels.
        names: of all photos.
        again: the photos for whose names the folder has images (`Output.images`).

    Raises:
        WriterError: a format cannot hold the labels, there is another image of the same name, or the folder has labels
            of other classes, in another form, or in one file of a person. Names the file or class, and the remedy.
    """
    for name in names:
        if len(name.encode()) > _LONGEST:
            raise WriterError(f"{name[:40]}…: its name has {len(name.encode())} bytes; shorten it to {_LONGEST}")
    for task, writer in writers.items():
        _check_dataset(output, task, writer, classes_of(info), names)
    for photo in again:
        # A person may have corrected the labels of that image.
        if path := output.other_image(photo.file, photo.content):
            raise WriterError(
                f"{photo.source or photo.file}: {output.folder / path} is another image of this name; choose another "
                "folder with --into"
            )


def _check_dataset(output: Output, task: Dataset, writer: Writer, classes: Classes, names: Collection[str]) -> None:
    folder, form = output.folder / task, CLASS_FOLDERS if writer.sorts(task) else writer.form
    for found, file in label_forms(task, folder, writer.folder).items():
        if found != form:
            raise WriterError(
                f"{folder / file}: is of another form than the new labels, {form}; choose its form with --to, or "
                "another folder with --into"
            )
    writer.check(folder, task, classes, names)
    for name in classes.of(task) if writer.sorts(task) else ():
        wrong = name != name.strip() or name.startswith(".") or UNSAFE & set(name)
        if wrong or len(name.encode()) > _LONGEST_CLASS:
            raise WriterError(f"the class {name!r} cannot be the name of a folder; use --to labelme, which has flags")
    listing = f"{task}/{writer.listing}"
    new = [name for name in names if not output.named(name, task)]
    if writer.listing and not writer.sorts(task) and new and output.is_a_persons(listing):
        raise WriterError(
            f"{output.folder / listing}: a person changed it, so that {new[0]} cannot be added (new images: "
            f"{len(new)}); choose another folder with --into"
        )


def classes_of(info: ModelInfo) -> Classes:
    """Return the class names of a model."""
    return Classes(info.det_class_names, info.cls_class_names)


def prelabel(
    panel: Panel,
    photos: Iterable[Photo],
    writers: Mapping[Dataset, Writer],
    output: Output,
    *,
    options: PrelabelOptions | None = None,
    on_progress: Callable[[int], None] | None = None,
    on_vote: Callable[[Photo, Sequence[Answer], Vote], None] | None = None,
) -> Summary:
    """Write the proposed labels of images, after `check_output`; only a batch of images is in memory.

    Args:
        panel: the models.
        photos: the images, of different names.
        writers: of each dataset, from `choose_writers`.
        output: receives `<dataset>/…`.
        options: polygons and batches.
        on_progress: called with the number of finished images.
        on_vote: called with each image, the answers to it and their vote.

    Raises:
        PredictorError: a model's outputs are not finite.
    """
    options = options or PrelabelOptions()
    summary = Summary()
    held: dict[Dataset, list[Labels]] = {task: [] for task in writers}
    for batch in in_batches(photos, options.batch_size):
        for photo, answers in zip(batch, panel.answer([photo.pixels for photo in batch]), strict=True):
            size = (photo.pixels.shape[1], photo.pixels.shape[0])
            found = vote(answers, size, panel.thresholds, panel.info.costs, panel.max_detections)
            outlines = _outline(found, writers, options)
            labels = _propose(photo.file, size, found, outlines)
            summary.add(labels, outlines, writers)
            if on_vote is not None:
                on_vote(photo, answers, found)
            for task, writer in writers.items():
                if task != "classification" or labels.label:
                    held[task] += _write_image(output, task, writer, labels, photo.content)
        if on_progress is not None:
            on_progress(summary.images)
    for task, writer in writers.items():
        classes = writer.extend(output.folder / task, task, classes_of(panel.info))
        _write_whole(output, task, writer, held[task], classes)
    return summary


def _outline(found: Vote, writers: Mapping[Dataset, Writer], options: PrelabelOptions) -> Outlines:
    """Return the outlines of a mask; none if its format does not have them."""
    if found.mask is None or "segmentation" not in writers or not writers["segmentation"].has_shapes:
        return Outlines()
    return outline_mask(found.mask, options.tolerance, options.least_area)


def _write_whole(output: Output, task: Dataset, writer: Writer, images: Sequence[Labels], classes: Classes) -> None:
    """Write files of all images, if there are any; they keep the images of earlier runs."""
    exists = partial(_has_image, output, task)
    for path, content in writer.whole(task, images, classes):
        before = output.ours(f"{task}/{path}")
        if before is not None:
            output.write(f"{task}/{path}", writer.merge(path, content, before, exists))
        elif images:
            output.write(f"{task}/{path}", content)


def _has_image(output: Output, task: Dataset, name: str) -> bool:
    return (output.folder / task / "images" / name).is_file()


def _write_image(output: Output, task: Dataset, writer: Writer, labels: Labels, content: bytes) -> list[Labels]:
    """Write an image and its labels; return these with the class that a person chose, nothing if they do not fit."""
    path = f"{task}/{writer.image(task, labels)}"
    if writer.sorts(task):
        place = output.place(path, content)
        if place is not None and place != path:
            return [replace(labels, label=PurePosixPath(place).parent.name, confidence=1.0, mask=None)]
    else:
        place = path if output.write(path, content) else None
    if place is None:
        return []
    for file, text in writer.each(task, labels):
        output.write(f"{task}/{file}", text)
    return [replace(labels, mask=None)]


def _propose(file: str, size: tuple[int, int], found: Vote, outlines: Outlines) -> Labels:
    """Turn a vote into labels."""
    x = [value for polygon in outlines.polygons for value in polygon[0::2]]
    y = [value for polygon in outlines.polygons for value in polygon[1::2]]
    around = (min(x), min(y), max(x), max(y)) if x else (0.0, 0.0, 0.0, 0.0)
    label = found.label if found.label is not None and found.label["answered"] else None
    name = label["class_name"] if label else ""
    return Labels(
        file=file,
        size=size,
        boxes=tuple(Marked(box.name, box.score, box.corners) for box in found.boxes if _has_area(box.corners)),
        outlines=(Marked(PAN, found.mask_confidence, around, outlines.polygons),) if x else (),
        mask=found.mask,
        label=name,
        confidence=label["probabilities"][name] if label else 0.0,
    )


def _has_area(corners: tuple[float, float, float, float]) -> bool:
    """True if a box has an area after its coordinates are rounded."""
    return corners[2] - corners[0] >= 0.1 and corners[3] - corners[1] >= 0.1
