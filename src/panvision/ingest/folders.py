"""Readers of the layouts whose labels are folders and files: segmentation and classification."""

from collections import Counter, defaultdict
from pathlib import Path

from panvision.ingest.layout import Part, Reading, Sample, find_parts, is_readable, list_images, relative
from panvision.ingest.problems import Problem, problem

SEGMENTATION_CLASSES = ["background", "pan"]


def read_segmentation(root: Path) -> Reading:
    """Pair images and masks: `images/` and `masks/` by stem, or Roboflow's `name.jpg` and `name_mask.png`."""
    parts, problems = find_parts(root)
    samples: list[Sample] = []
    for part in parts:
        images, masks, faults = _images_and_masks(part, root)
        found, more = _pair(images, masks, part, root)
        samples += found
        problems += faults + more
    return Reading(sorted(samples, key=lambda sample: sample.file), SEGMENTATION_CLASSES, problems)


def _images_and_masks(part: Part, root: Path) -> tuple[list[Path], dict[str, list[Path]], list[Problem]]:
    """The part's images, its masks by the stem of their image, and what else lies there."""
    mask_folder = part.folder / "masks"
    if not mask_folder.is_dir():
        files, problems = list_images(part.images, root)
        masks = [path for path in files if path.stem.endswith("_mask")]
        images = [path for path in files if not path.stem.endswith("_mask")]
        return images, _by_stem(masks), problems
    images, problems = list_images(part.images, root)
    masks, faults = list_images(mask_folder, root)
    stems = {path.stem for path in images}
    # masks/name_mask.png is Roboflow's name in our folder; masks/name.png is the layout's own.
    by_stem: dict[str, list[Path]] = defaultdict(list)
    for path in masks:
        by_stem[path.stem if path.stem in stems else path.stem.removesuffix("_mask")].append(path)
    return images, by_stem, problems + faults


def _by_stem(masks: list[Path]) -> dict[str, list[Path]]:
    grouped: dict[str, list[Path]] = defaultdict(list)
    for path in masks:
        grouped[path.stem.removesuffix("_mask")].append(path)
    return grouped


def _pair(
    images: list[Path], masks: dict[str, list[Path]], part: Part, root: Path
) -> tuple[list[Sample], list[Problem]]:
    samples: list[Sample] = []
    problems: list[Problem] = []
    counts = Counter(path.stem for path in images)
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


def read_classification(root: Path) -> Reading:
    """One folder per class, inside `images/` or, as Roboflow has it, directly inside a split folder."""
    parts, problems = find_parts(root)
    samples: list[Sample] = []
    folders: dict[str, str] = {}
    for part in parts:
        for folder in sorted(
            path for path in part.images.iterdir() if path.is_dir() and path.name[0] != "." and is_readable(path)
        ):
            images, faults = list_images(folder, root)
            problems += faults
            folders.setdefault(folder.name, relative(folder, root))
            samples += [Sample(relative(path, root), part.split, path.name, label=folder.name) for path in images]
        # Images among the class folders; the folders themselves were read above.
        loose, faults = list_images(part.images, root)
        problems += [fault for fault in faults if fault.code != "nested_folder"]
        problems += [problem("image_without_class", relative(path, root), "lies in no class folder") for path in loose]
    counts = Counter(sample.label for sample in samples)
    for name, folder_file in folders.items():
        if counts[name] == 0:
            problems.append(problem("class_empty", folder_file, f"the class {name!r} has no images"))
        elif counts[name] == 1:
            problems.append(problem("class_single_image", folder_file, f"the class {name!r} has one image"))
    return Reading(sorted(samples, key=lambda sample: sample.file), sorted(counts), problems)
