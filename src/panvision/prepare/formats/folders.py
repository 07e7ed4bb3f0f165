"""Readers of the layouts whose labels are files and folders: masks, and class folders."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path, PurePosixPath

from panvision.dataset.paths import fold_name, relative
from panvision.dataset.problems import Problem, problem
from panvision.prepare.formats.flat import is_placeholder, placeholder, read_flat
from panvision.prepare.formats.layout import (
    Part,
    Reading,
    Sample,
    find_parts,
    holds_images,
    inner_parts,
    list_folder,
    list_images,
)
from panvision.prepare.formats.mask_labels import PanClasses, read_table
from panvision.prepare.formats.parsing import is_name

SEGMENTATION_CLASSES = ["background", "pan"]


def read_segmentation(root: Path, pan_classes: PanClasses = None) -> Reading:
    """Pair images and masks by stem.

    The folders are those of `Part.images` and `Part.masks`, also with the splits inside (`images/train`,
    `masks/train`); in one folder, as Roboflow exports them, the mask of `name.jpg` is `name_mask.png`.

    Args:
        root: the dataset's folder.
        pan_classes: `data.pan_classes`.
    """
    outer, problems = find_parts(root)
    samples: list[Sample] = []
    for part in (inner for each in outer for inner in inner_parts(each, root)):
        images, masks, faults = _images_and_masks(part, root)
        found, more = _pair(images, masks, part, root)
        folders = dict.fromkeys((part.masks or part.images, part.folder, root))
        table, unread = read_table(folders, root, pan_classes)
        samples += [replace(sample, mask_table=table) for sample in found]
        problems += faults + more + unread
    ordered = sorted(samples, key=lambda sample: sample.file)
    return Reading(ordered, SEGMENTATION_CLASSES, list(dict.fromkeys(problems)))


def _images_and_masks(part: Part, root: Path) -> tuple[list[Path], dict[str, list[Path]], list[Problem]]:
    """Return the part's images, its masks by the stem of their image, and problems of its other files."""
    files, problems = list_images(part.images, root)
    if part.masks is None:
        masks = [path for path in files if path.stem.endswith("_mask")]
        images = [path for path in files if not path.stem.endswith("_mask")]
        return images, _by_stem(masks, []), problems
    masks, faults = list_images(part.masks, root)
    return files, _by_stem(masks, files), problems + faults


def _by_stem(masks: list[Path], images: list[Path]) -> dict[str, list[Path]]:
    """Group masks by the stem of their image.

    masks/name.png is the layout's own, masks/name.jpg.png Supervisely's name for it, masks/name_mask.png Roboflow's.
    """
    stems, names = {path.stem for path in images}, {path.name: path.stem for path in images}
    grouped: dict[str, list[Path]] = defaultdict(list)
    for path in masks:
        own = path.stem if path.stem in stems else names.get(path.stem)
        grouped[own or path.stem.removesuffix("_mask")].append(path)
    return grouped


def _pair(
    images: list[Path], masks: dict[str, list[Path]], part: Part, root: Path
) -> tuple[list[Sample], list[Problem]]:
    samples: list[Sample] = []
    counts = Counter(path.stem for path in images)
    masks, problems = _with_names_that_differ(counts, masks, root)
    for path in images:
        file = relative(path, root)
        candidates = masks.get(path.stem, [])
        if counts[path.stem] > 1:
            problems.append(problem("stem_twice", file, f"shares the stem {path.stem!r} with another image"))
        elif not candidates:
            problems.append(problem("mask_missing", file, "has no mask"))
        elif len(candidates) > 1:
            names = " and ".join(candidate.name for candidate in candidates)
            problems.append(problem("mask_twice", file, f"has more than one mask: {names}"))
        else:
            samples.append(Sample(file, part.split, path.name, mask=relative(candidates[0], root)))
    for stem in sorted(set(masks) - set(counts)):
        problems += [problem("mask_orphaned", relative(path, root), "has no image") for path in masks[stem]]
    return samples, problems


def _with_names_that_differ(
    stems: Iterable[str], masks: dict[str, list[Path]], root: Path
) -> tuple[dict[str, list[Path]], list[Problem]]:
    """Give images without a mask those masks without an image whose name differs only in case or Unicode form."""
    lonely: dict[str, list[str]] = defaultdict(list)
    for stem in stems:
        if stem not in masks:
            lonely[fold_name(stem)].append(stem)
    known = set(stems)
    paired = dict(masks)
    problems: list[Problem] = []
    for mask_stem in sorted(set(masks) - known):
        meant = lonely.get(fold_name(mask_stem), [])
        # If two images could be meant, neither is used.
        if len(meant) == 1:
            moved = paired.pop(mask_stem)
            paired[meant[0]] = [*paired.get(meant[0], []), *moved]
            reason = f"is used as the mask of {meant[0]!r}, whose name is written differently"
            problems += [problem("mask_name_differs", relative(path, root), reason) for path in moved]
    return paired, problems


def read_classification(root: Path) -> Reading:
    """Read one folder per class, inside `images/` or (Roboflow) directly inside a split folder.

    Images without class folders have their classes in a table or in LabelMe's files (`read_flat`).
    """
    outer, problems = find_parts(root)
    samples: list[Sample] = []
    folders: dict[str, str] = {}
    for part in (inner for each in outer for inner in inner_parts(each, root)):
        listed = list_folder(part.images, root).folders
        loose, faults = list_images(part.images, root)
        if loose and not any(map(holds_images, listed)) and (flat := read_flat(part, root)) is not None:
            problems += flat.problems
            samples += flat.samples
            folders = {**dict.fromkeys(flat.classes, relative(part.images, root)), **folders}
            continue
        for folder in listed:
            images, own_faults = list_images(folder, root)
            problems += own_faults
            if is_placeholder(folder.name):
                problems.append(placeholder(relative(folder, root), len(images)))
                continue
            folders.setdefault(folder.name, relative(folder, root))
            samples += [Sample(relative(path, root), part.split, path.name, label=folder.name) for path in images]
        # Images among the class folders; the folders themselves were read above.
        problems += [fault for fault in faults if fault.code != "nested_folder"]
        problems += [problem("image_without_class", relative(path, root), "is not in a class folder") for path in loose]
    problems += _odd_classes(folders, Counter(sample.label for sample in samples))
    ordered = sorted(samples, key=lambda sample: sample.file)
    return Reading(ordered, sorted({sample.label for sample in samples}), list(dict.fromkeys(problems)))


def _odd_classes(folders: dict[str, str], counts: Counter[str]) -> list[Problem]:
    """Report classes with too few images, and classes whose names differ only in case or Unicode form.

    `folders` has the first folder of each class, `counts` the number of its images.
    """
    problems: list[Problem] = []
    first: dict[str, str] = {}
    for name, folder in folders.items():
        if not is_name(name):
            problems.append(problem("name_unreadable", folder, "cannot name a class: it is too long, or not one line"))
        if counts[name] == 0:
            problems.append(problem("class_empty", folder, f"the class {name!r} has no images"))
        elif counts[name] == 1:
            problems.append(problem("class_single_image", folder, f"the class {name!r} has one image"))
        other = first.setdefault(fold_name(name), name)
        # The listing has reported two folders in one place already.
        if other != name and PurePosixPath(folder).parent != PurePosixPath(folders[other]).parent:
            reason = f"is a separate class beside {folders[other]}, whose name is written differently"
            problems.append(problem("names_clash", folder, reason))
    return problems
