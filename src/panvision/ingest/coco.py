"""Reader of COCO detection annotations as labelling tools export them."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from panvision.ingest.layout import BoxLabels, Part, Reading, Sample, find_parts, list_images, relative
from panvision.ingest.problems import Problem, problem

ANNOTATIONS = "_annotations.coco.json"


@dataclass
class _Document:
    """One annotations file, its entries checked one by one; `file` is its path below the task's folder."""

    part: Part
    file: str
    categories: list[dict[str, Any]] = field(default_factory=list)
    images: list[dict[str, Any]] = field(default_factory=list)
    annotations: list[dict[str, Any]] = field(default_factory=list)


def read_detection(root: Path) -> Reading:
    """Read every part's annotations; classes are contiguous in the order of the category ids.

    Roboflow's category 0 is often an empty root. A category is dropped if another one names it as its
    `supercategory` and no annotation uses it (the rule of roboflow/rf-detr#1303).
    """
    parts, problems = find_parts(root)
    documents: list[_Document] = []
    for part in parts:
        document, faults = _load(part, root)
        problems += faults
        documents += [document] if document else []
    names, faults = _categories(documents)
    problems += faults
    labels = {identity: label for label, identity in enumerate(sorted(names))}
    samples: list[Sample] = []
    for document in documents:
        found, faults = _samples(document, labels, root)
        samples += found
        problems += faults
    return Reading(
        sorted(samples, key=lambda sample: sample.file), [names[identity] for identity in sorted(names)], problems
    )


def _load(part: Part, root: Path) -> tuple[_Document | None, list[Problem]]:
    """The annotations of one part, from beside the images or the folder above."""
    candidates = list(dict.fromkeys((part.folder / ANNOTATIONS, part.images / ANNOTATIONS)))
    present = [path for path in candidates if path.is_file()]
    if not present and not list_images(part.images, root, nested=True)[0]:
        return None, []
    if not present:
        where = relative(candidates[0], root)
        return None, [problem("annotations_missing", where, "there is no such file")]
    file = relative(present[0], root)
    if len(present) > 1:
        return None, [problem("annotations_twice", file, f"lies in {part.folder.name}/ and in its images/")]
    try:
        content = json.loads(present[0].read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        return None, [problem("annotations_broken", file, f"is not readable JSON: {error}")]
    if not isinstance(content, dict):
        return None, [problem("annotations_broken", file, "is not a JSON object")]
    document = _Document(part, file)
    problems: list[Problem] = []
    for key, target, checks in (
        ("categories", document.categories, {"id": _is_int, "name": _is_text}),
        ("images", document.images, {"id": _is_key, "file_name": _is_text}),
        ("annotations", document.annotations, {"image_id": _is_key, "category_id": _is_int, "bbox": _is_list}),
    ):
        entries = content.get(key)
        if not isinstance(entries, list):
            problems.append(problem("annotations_broken", file, f"has no list {key!r}"))
            continue
        code = "annotation_broken" if key == "annotations" else "annotations_broken"
        for number, entry in enumerate(entries):
            wrong = _wrong_keys(entry, checks)
            if wrong:
                problems.append(problem(code, file, f"{key}[{number}]: missing or of the wrong type: {wrong}"))
            else:
                target.append(entry)
    return document, problems


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value != ""


def _is_key(value: object) -> bool:
    return _is_int(value) or _is_text(value)


def _is_list(value: object) -> bool:
    return isinstance(value, list)


def _wrong_keys(entry: object, checks: dict[str, Any]) -> str:
    if not isinstance(entry, dict):
        return "the entry itself"
    return ", ".join(key for key, check in checks.items() if not check(entry.get(key)))


def _categories(documents: Iterable[_Document]) -> tuple[dict[int, str], list[Problem]]:
    """Category id → name over all documents, without empty root categories."""
    names: dict[int, str] = {}
    parents: dict[str, set[int]] = defaultdict(set)
    used: set[int] = set()
    problems: list[Problem] = []
    file = ""
    for document in documents:
        file = file or document.file
        used |= {annotation["category_id"] for annotation in document.annotations}
        for category in document.categories:
            identity, name = category["id"], category["name"]
            parents[str(category.get("supercategory", ""))].add(identity)
            if names.setdefault(identity, name) != name:
                reason = f"category {identity} is {names[identity]!r} and {name!r}"
                problems.append(problem("categories_conflict", document.file, reason))
    for name, count in Counter(names.values()).items():
        if count > 1:
            problems.append(problem("categories_conflict", file, f"the name {name!r} has {count} ids"))
    roots = {identity for identity, name in names.items() if parents[name] - {identity} and identity not in used}
    for identity, name in sorted(names.items()):
        if identity in roots:
            problems.append(problem("root_category_dropped", file, f"category {identity} {name!r} is an empty root"))
        elif identity not in used:
            problems.append(problem("class_unused", file, f"category {identity} {name!r} has no annotation"))
    return {identity: name for identity, name in names.items() if identity not in roots}, problems


def _samples(document: _Document, labels: dict[int, int], root: Path) -> tuple[list[Sample], list[Problem]]:
    """The document's images with their boxes; images without boxes are negatives and stay."""
    files, listed, problems = _files(document, root)
    grouped, faults = _annotations_by_image(document, labels)
    problems += faults
    samples = [
        Sample(
            file=files[image["id"]],
            split=document.part.split,
            name=_original_name(image),
            boxes=_boxes(image, grouped[image["id"]], labels),
        )
        for image in document.images
        if image["id"] in files
    ]
    present, faults = list_images(document.part.images, root, nested=True)
    problems += faults
    unlisted = [file for file in (relative(path, root) for path in present) if file not in listed]
    problems += [problem("image_unlisted", file, f"is not listed in {document.file}") for file in unlisted]
    return samples, problems


def _files(document: _Document, root: Path) -> tuple[dict[int | str, str], set[str], list[Problem]]:
    """Image id → path below the task's folder, for usable entries; all files that are listed; the problems."""
    files: dict[int | str, str] = {}
    listed: set[str] = set()
    problems: list[Problem] = []
    ids = Counter(image["id"] for image in document.images)
    names = Counter(image["file_name"] for image in document.images)
    part = document.part
    for image in document.images:
        name = image["file_name"].replace("\\", "/")
        pure = PurePosixPath(name)
        if pure.is_absolute() or ".." in pure.parts or "\0" in name or (name[1:2] == ":"):
            problems.append(problem("path_escapes", document.file, f"file_name {name!r} leaves the folder"))
            continue
        found = [path for path in (part.images / pure, part.folder / pure) if _is_file(path)]
        listed |= {relative(path, root) for path in found}
        if ids[image["id"]] > 1 or names[image["file_name"]] > 1:
            reason = f"{name} (id {image['id']}) shares its id or its file with another entry"
            problems.append(problem("image_listed_twice", document.file, reason))
        elif found:
            files[image["id"]] = relative(found[0], root)
        else:
            problems.append(problem("image_missing", relative(part.images / pure, root), "is listed but absent"))
    return files, listed, problems


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        # A name that the file system refuses, for example one that is too long.
        return False


def _annotations_by_image(
    document: _Document, labels: dict[int, int]
) -> tuple[dict[int | str, list[dict[str, Any]]], list[Problem]]:
    """The usable annotations by image id."""
    known = {image["id"] for image in document.images}
    ids = Counter(annotation["id"] for annotation in document.annotations if _is_key(annotation.get("id")))
    grouped: dict[int | str, list[dict[str, Any]]] = defaultdict(list)
    problems = [
        problem("annotation_id_twice", document.file, f"{count} annotations have the id {identity}")
        for identity, count in ids.items()
        if count > 1
    ]
    for annotation in document.annotations:
        reason = f"annotation {annotation.get('id')}"
        if annotation["image_id"] not in known:
            reason += f": unknown image {annotation['image_id']}"
            problems.append(problem("annotation_unknown_image", document.file, reason))
        elif annotation["category_id"] not in labels:
            reason += f": unknown category {annotation['category_id']}"
            problems.append(problem("annotation_unknown_category", document.file, reason))
        elif annotation.get("iscrowd"):
            problems.append(problem("crowd_dropped", document.file, f"{reason}: marks a crowd, not one object"))
        else:
            grouped[annotation["image_id"]].append(annotation)
    return grouped, problems


def _boxes(image: dict[str, Any], annotations: list[dict[str, Any]], labels: dict[int, int]) -> BoxLabels:
    sides = (image.get("width"), image.get("height"))
    width, height = (_float(side) if isinstance(side, (int, float)) and side > 0 else 0.0 for side in sides)
    return BoxLabels(
        size=(width, height) if width and height else None,
        xywh=tuple(_numbers(annotation["bbox"]) for annotation in annotations),
        labels=tuple(labels[annotation["category_id"]] for annotation in annotations),
        ids=tuple(str(annotation.get("id")) for annotation in annotations),
    )


def _numbers(box: list[Any]) -> tuple[float, float, float, float]:
    """Four numbers; what is none becomes NaN, which the check of the boxes reports."""
    sane = len(box) == 4 and all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in box)
    if not sane:
        return (float("nan"),) * 4
    x, y, width, height = (_float(value) for value in box)
    return x, y, width, height


def _float(value: float) -> float:
    """JSON's integers may be larger than any float."""
    try:
        return float(value)
    except OverflowError:
        return float("inf")


def _original_name(image: dict[str, Any]) -> str:
    """The name that tells the photo: the file's, or Roboflow's own where a later tool renamed the file."""
    name = PurePosixPath(image["file_name"].replace("\\", "/")).name
    extra = image.get("extra")
    kept = extra.get("name") if isinstance(extra, dict) else None
    return kept if ".rf." not in name and isinstance(kept, str) and ".rf." in kept else name
