"""What every reader of annotations gives, and how it becomes the samples of a task.

For detection each shape is a box: as annotated, or the one around its outline. For segmentation all outlines of a
picture together are pan, whatever their class. A box is no outline there, unless it was drawn as one: the corners
of a box around a round pan are not pan, and a pan left out would be taught as background, so a shape with a box
only is an error. Pictures that are listed without shapes are negatives; those that are not listed are left out with
a warning, since nobody knows whether they show nothing or were forgotten, and a forgotten pan taught as background
costs more than a picture less.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from panvision.core.tasks import Dataset
from panvision.dataset.paths import fold_name, relative
from panvision.dataset.problems import Problem, problem
from panvision.prepare.formats.documents import Claim, Document
from panvision.prepare.formats.folders import SEGMENTATION_CLASSES
from panvision.prepare.formats.layout import BoxLabels, OutlineLabels, Reading, RunLengths, Sample
from panvision.prepare.formats.outlines import Box, Polygon, outline_box


@dataclass(frozen=True, slots=True)
class Shape:
    """One annotated object.

    Attributes:
        name: its class.
        id: what messages call it after the word annotation: its number, or `in line 3`.
        xywh: its box as annotated: left, top, width, height; not checked.
        polygons: its outline, in one part or more.
        run_lengths: its outline as a mask.
        fault: what is wrong with its outline, if it has one that cannot be used.
    """

    name: str
    id: str
    xywh: Box | None = None
    polygons: tuple[Polygon, ...] = ()
    run_lengths: RunLengths | None = None
    fault: str = ""

    @property
    def has_outline(self) -> bool:
        """Whether its outline can be used."""
        return bool(self.polygons) or self.run_lengths is not None


@dataclass(frozen=True, slots=True)
class Annotated:
    """One image with its shapes.

    Attributes:
        file: path below the task's folder.
        split: the user's own, or "".
        name: file name that tells the photo.
        source: the annotation file.
        group: the file or folder for which repairs are counted together: the source, or the folder it lies in.
        shapes: the objects.
        size: width and height that the annotations state.
        relative: coordinates are fractions of the picture's sides.
    """

    file: str
    split: str
    name: str
    source: str
    group: str
    shapes: tuple[Shape, ...] = ()
    size: tuple[float, float] | None = None
    relative: bool = False


@dataclass(frozen=True)
class Found:
    """What a reader found: class names in order, images, and problems."""

    classes: list[str] = field(default_factory=list)
    images: list[Annotated] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


Contents = tuple[list[Shape], tuple[float, float] | None, list[Problem]]


def read_paired(
    claims: Iterable[Claim],
    image_name: Callable[[Document], str],
    contents: Callable[[Document], Contents],
    *,
    by_name: bool,
) -> Found:
    """Read formats that have an annotation file for each image; classes in the order of their names.

    Args:
        claims: every part with its files.
        image_name: the image's name that a file states, or "".
        contents: a file's shapes, the size that it states, and what is wrong with it.
        by_name: the stated name decides which image it is, not the file's own (`Claim.pair`).
    """
    found = Found()
    for claim in claims:
        pairs, problems = claim.pair(image_name, by_name=by_name)
        found.problems.extend(problems)
        for document, path in pairs:
            shapes, size, faults = contents(document)
            found.problems.extend(faults)
            annotated = Annotated(
                file=relative(path, claim.scan.root),
                split=claim.scan.split_of(path),
                name=path.name,
                source=document.file,
                group=relative(document.path.parent, claim.scan.root),
                shapes=tuple(shapes),
                size=size,
            )
            found.images.append(annotated)
    found.classes.extend(sorted({shape.name for image in found.images for shape in image.shapes}))
    return found


def to_reading(task: Dataset, found: Iterable[Found]) -> Reading:
    """Join what the readers found; classes of several formats are joined by name, in order of appearance."""
    found = list(found)
    classes = list(dict.fromkeys(name for part in found for name in part.classes))
    images, problems = _listed_once([image for part in found for image in part.images])
    problems = [*(fault for part in found for fault in part.problems), *problems]
    if task == "detection":
        samples, faults = _with_boxes(images, {name: label for label, name in enumerate(classes)})
        faults += _names_alike(classes, images)
    else:
        samples, faults = _with_outlines(images)
        classes = list(SEGMENTATION_CLASSES)
    ordered = sorted(samples, key=lambda sample: sample.file)
    return Reading(ordered, classes, list(dict.fromkeys([*problems, *faults])))


def unused_classes(names: Iterable[str], used: Iterable[str], file: str) -> list[Problem]:
    """A warning for each declared class without annotations."""
    known = set(used)
    return [
        problem("class_unused", file, f"the class {name!r} has no annotation") for name in names if name not in known
    ]


def _names_alike(classes: Iterable[str], images: Sequence[Annotated]) -> list[Problem]:
    """Classes that somebody may have meant for one: their names differ in case, spaces, hyphens or underscores only."""
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
    """Images with one entry only; which of two entries holds is the user's to say."""
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
            labels=tuple(labels[shape.name] for _, shape in boxes),
            ids=tuple(shape.id for _, shape in boxes),
            relative=image.relative,
        )
        samples.append(Sample(image.file, image.split, image.name, boxes=labelled))
    problems += [
        problem("box_from_outline", group, f"{count} boxes were drawn around outlines")
        for group, count in drawn.items()
    ]
    return samples, problems


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
    """What is to be said of one annotation file's outlines, or one folder's."""
    shapes = [(image.source, shape) for image in images for shape in image.shapes]
    drawn = sum(shape.has_outline for _, shape in shapes)
    if shapes and not any(shape.has_outline or shape.fault for _, shape in shapes):
        # The whole file is of another task: one line says so.
        yield problem("outline_broken", group, f"none of its {len(shapes)} annotations has an outline, only boxes")
        return
    for source, shape in shapes:
        if not shape.has_outline:
            reason = f"annotation {shape.id}: {shape.fault or 'has a box, but no outline'}"
            yield problem("outline_broken", source, reason)
    if drawn:
        yield problem("masks_drawn", group, f"masks of {len(images)} images were drawn from {drawn} outlines")
