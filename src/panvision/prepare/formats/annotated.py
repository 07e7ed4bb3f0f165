"""The common form of all label formats, and its translation into the samples of a dataset.

For detection each shape is a box: as annotated, or the one around its outline. For segmentation the outlines of
`data.pan_classes` together are pan; if there is only one class, it need not be named. A box is not an outline there,
unless it was drawn as one: the corners of a box around a round pan are not pan, and a pan left out would be trained as
background. So a shape with only a box is an error. Images that are listed without shapes are negatives. Images that are
not listed are left out with a warning: they may show nothing, or may have been forgotten, and a forgotten pan trained
as background costs more than one image.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from panvision.core.tasks import Dataset
from panvision.dataset.packed import CROWD
from panvision.dataset.paths import fold_name, relative
from panvision.dataset.problems import Problem, problem
from panvision.prepare.formats.documents import Claim, Document, Scan
from panvision.prepare.formats.folders import SEGMENTATION_CLASSES
from panvision.prepare.formats.layout import BoxLabels, OutlineLabels, Reading, RunLengths, Sample
from panvision.prepare.formats.mask_labels import PanClasses, list_counts, unknown_pan
from panvision.prepare.formats.outlines import Box, Polygon, outline_box

Size = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Shape:
    """One annotated object.

    Attributes:
        name: its class.
        id: its name in messages after the word annotation: its number, or `in line 3`.
        xywh: its box as annotated: left, top, width, height; not checked.
        polygons: its outline, in one part or more.
        run_lengths: its outline as a mask.
        fault: what is wrong with its outline, if it has one that cannot be used.
        crowd: it marks several objects at once; a region to ignore for detection.
    """

    name: str
    id: str
    xywh: Box | None = None
    polygons: tuple[Polygon, ...] = ()
    run_lengths: RunLengths | None = None
    fault: str = ""
    crowd: bool = False

    @property
    def has_outline(self) -> bool:
        """True if its outline can be used."""
        return bool(self.polygons) or self.run_lengths is not None


@dataclass(frozen=True, slots=True)
class Contents:
    """The contents of one annotation file of one image.

    Attributes:
        shapes: the objects.
        size: width and height that the file states.
        problems: the faults that were found.
        relative: coordinates are fractions of the image's sides.
        usable: the image can be used.
    """

    shapes: list[Shape] = field(default_factory=list)
    size: Size | None = None
    problems: list[Problem] = field(default_factory=list)
    relative: bool = False
    usable: bool = True


@dataclass(frozen=True, slots=True)
class Annotated:
    """One image with its shapes.

    Attributes:
        file: path below the dataset's folder.
        split: the user's own, or "".
        name: file name that identifies the photo.
        source: the annotation file.
        group: the file or folder for which repairs are counted together: the source, or its folder.
        shapes: the objects.
        size: width and height that the annotations state.
        relative: coordinates are fractions of the image's sides.
    """

    file: str
    split: str
    name: str
    source: str
    group: str
    shapes: tuple[Shape, ...] = ()
    size: Size | None = None
    relative: bool = False


@dataclass(frozen=True)
class Found:
    """The result of a reader: class names in order, images, and problems."""

    classes: list[str] = field(default_factory=list)
    images: list[Annotated] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def annotate(path: Path, scan: Scan, document: Document, contents: Contents, *, subset: str = "") -> Annotated:
    """Join an image with the contents of an annotation file of many images.

    Args:
        path: the image.
        scan: its part.
        document: the annotation file.
        contents: its shapes.
        subset: a name in the file that may mean a split.
    """
    return Annotated(
        file=relative(path, scan.root),
        split=scan.split_of(path, subset),
        name=path.name,
        source=document.file,
        group=document.file,
        shapes=tuple(contents.shapes),
        size=contents.size,
        relative=contents.relative,
    )


def read_paired(
    claims: Iterable[Claim],
    image_name: Callable[[Document], str],
    contents: Callable[[Document], Contents],
    *,
    by_name: bool,
) -> Found:
    """Read a format with an annotation file for each image; classes are in the order of their names.

    Args:
        claims: every part with its files.
        image_name: returns the image's name that a file states, or "".
        contents: reads a file.
        by_name: the stated name decides which image it is, not the file's own (`Claim.pair`).
    """
    found = Found()
    for claim in claims:
        pairs, problems = claim.pair(image_name, by_name=by_name)
        found.problems.extend(problems)
        for document, path in pairs:
            read = contents(document)
            found.problems.extend(read.problems)
            if read.usable:
                folder = relative(document.path.parent, claim.scan.root)
                found.images.append(replace(annotate(path, claim.scan, document, read), group=folder))
    found.classes.extend(sorted({shape.name for image in found.images for shape in image.shapes}))
    return found


def to_reading(task: Dataset, found: Iterable[Found], pan_classes: PanClasses = None) -> Reading:
    """Join the results of the readers; classes of several formats are joined by name, in order of appearance."""
    found = list(found)
    classes = list(dict.fromkeys(name for part in found for name in part.classes))
    images, problems = _listed_once([image for part in found for image in part.images])
    problems = [*(fault for part in found for fault in part.problems), *problems]
    if task == "detection":
        samples, faults = _with_boxes(images, {name: label for label, name in enumerate(classes)})
        faults += _names_alike(classes, images)
    else:
        images, unclear = _only_pan(images, pan_classes)
        samples, faults = _with_outlines(images)
        faults += unclear
        classes = list(SEGMENTATION_CLASSES)
    ordered = sorted(samples, key=lambda sample: sample.file)
    # An image that the annotations list is read, with any suffix.
    known = {sample.file for sample in samples}
    problems = [fault for fault in problems if fault.code != "foreign_file" or fault.file not in known]
    return Reading(ordered, classes, list(dict.fromkeys([*problems, *faults])))


def unused_classes(names: Iterable[str], used: Iterable[str], file: str) -> list[Problem]:
    """Warn of each declared class without annotations."""
    known = set(used)
    return [
        problem("class_unused", file, f"the class {name!r} has no annotation") for name in names if name not in known
    ]


def _names_alike(classes: Iterable[str], images: Sequence[Annotated]) -> list[Problem]:
    """Find classes that may be meant as one: their names differ only in case, spaces, hyphens or underscores."""
    first: dict[str, str] = {}
    pairs = {name: first.setdefault(" ".join(re.split(r"[\s_-]+", fold_name(name))).strip(), name) for name in classes}
    problems: list[Problem] = []
    for name, other in pairs.items():
        if name != other:
            sources = (image.source for image in images if any(shape.name == name for shape in image.shapes))
            source = next(sources, images[0].source if images else "")
            problems.append(problem("class_names_alike", source, f"{name!r} and {other!r} are two classes"))
    return problems


def _listed_once(images: list[Annotated]) -> tuple[list[Annotated], list[Problem]]:
    """Keep images with one entry; of two entries the user must choose."""
    counts = Counter(image.file for image in images)
    sources: dict[str, set[str]] = defaultdict(set)
    for image in images:
        sources[image.file].add(image.source)
    problems = [
        problem("image_listed_twice", min(sources[file]), f"{file} has {count} entries{_of(sources[file])}")
        for file, count in counts.items()
        if count > 1
    ]
    return [image for image in images if counts[image.file] == 1], problems


def _of(sources: set[str]) -> str:
    return f", in {' and '.join(sorted(sources))}" if len(sources) > 1 else ""


def _with_boxes(images: list[Annotated], labels: dict[str, int]) -> tuple[list[Sample], list[Problem]]:
    samples: list[Sample] = []
    problems: list[Problem] = []
    drawn: Counter[str] = Counter()
    for image in images:
        boxes: list[tuple[Box, Shape]] = []
        for shape in image.shapes:
            if shape.xywh is not None:
                boxes.append((shape.xywh, shape))
            elif shape.has_outline:
                boxes.append((outline_box(shape.polygons, shape.run_lengths), shape))
                drawn[image.group] += 1
            elif shape.fault:
                problems.append(problem("outline_broken", image.source, f"annotation {shape.id}: {shape.fault}"))
            else:
                reason = f"annotation {shape.id}: has neither a box nor an outline"
                problems.append(problem("annotation_broken", image.source, reason))
        labelled = BoxLabels(
            size=image.size,
            xywh=tuple(box for box, _ in boxes),
            labels=tuple(CROWD - labels[shape.name] if shape.crowd else labels[shape.name] for _, shape in boxes),
            ids=tuple(shape.id for _, shape in boxes),
            relative=image.relative,
        )
        samples.append(Sample(image.file, image.split, image.name, boxes=labelled))
    problems += [
        problem("box_from_outline", group, f"{count} boxes were drawn around outlines")
        for group, count in drawn.items()
    ]
    return samples, problems


def _only_pan(images: list[Annotated], pan_classes: PanClasses) -> tuple[list[Annotated], list[Problem]]:
    """Drop the shapes that are not pan; of several classes the params must say which are."""
    counts = Counter(shape.name for image in images for shape in image.shapes if shape.has_outline)
    source = next((image.group for image in images if image.shapes), "")
    if isinstance(pan_classes, tuple):
        absent = set(pan_classes) - counts.keys()
        problems = [unknown_pan(absent, counts, source, "outlines")] if counts and absent else []
        kept = [tuple(shape for shape in image.shapes if shape.name in pan_classes) for image in images]
        return [replace(image, shapes=shapes) for image, shapes in zip(images, kept, strict=True)], problems
    if pan_classes is None and len(counts) > 1:
        reason = f"its outlines have several classes: {list_counts(counts, 'outlines')}"
        return images, [problem("pan_unclear", source, reason)]
    return images, []


def _with_outlines(images: list[Annotated]) -> tuple[list[Sample], list[Problem]]:
    samples: list[Sample] = []
    groups: dict[str, list[Annotated]] = defaultdict(list)
    for image in images:
        groups[image.group].append(image)
        usable = [shape for shape in image.shapes if shape.has_outline]
        outlines = OutlineLabels(
            size=image.size,
            polygons=tuple(polygon for shape in usable for polygon in shape.polygons),
            run_lengths=tuple(shape.run_lengths for shape in usable if shape.run_lengths),
            relative=image.relative,
        )
        samples.append(Sample(image.file, image.split, image.name, outlines=outlines))
    problems = [fault for group, members in groups.items() for fault in _outline_faults(group, members)]
    return samples, problems


def _outline_faults(group: str, images: list[Annotated]) -> Iterator[Problem]:
    """Report the outlines of one annotation file, or of one folder."""
    shapes = [(image.source, shape) for image in images for shape in image.shapes]
    drawn = sum(shape.has_outline for _, shape in shapes)
    if shapes and not any(shape.has_outline or shape.fault for _, shape in shapes):
        # The whole file is meant for another task: report it once.
        yield problem("outline_broken", group, f"none of its {len(shapes)} annotations has an outline, only boxes")
        return
    for source, shape in shapes:
        if not shape.has_outline:
            reason = f"annotation {shape.id}: {shape.fault or 'has a box, but no outline'}"
            yield problem("outline_broken", source, reason)
    if drawn:
        yield problem("masks_drawn", group, f"masks of {len(images)} images were drawn from {drawn} outlines")
