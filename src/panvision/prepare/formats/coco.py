"""COCO annotations as Roboflow, CVAT, Label Studio and others export them.

Format: https://cocodataset.org/#format-data. Boxes are x, y, width, height in pixels, outlines lists of polygons
x1, y1, x2, y2, … or run-length masks. Classes are contiguous in the order of the category ids.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from math import isfinite
from pathlib import Path, PurePosixPath
from typing import Any

from panvision.core.tasks import Dataset
from panvision.dataset.paths import relative
from panvision.dataset.problems import Problem, problem
from panvision.prepare.formats.annotated import Annotated, Contents, Found, Shape, annotate, unused_classes
from panvision.prepare.formats.documents import Claim, Document, Format, Scan
from panvision.prepare.formats.layout import RunLengths, split_name
from panvision.prepare.formats.outlines import Box, Polygon, check_polygon
from panvision.prepare.formats.parsing import is_name, is_text, stated_size, to_float
from panvision.prepare.formats.runlengths import OutlineError, check_run_lengths

ANNOTATIONS = "_annotations.coco.json"
_INSTANCES = "instances_"
_LISTS = ("categories", "images", "annotations")

# A whole number as text, of a length that is an id and not an attack on the conversion.
_WHOLE = re.compile(r"-?(?:0|[1-9][0-9]{0,30})(?:\.0+)?")

Entry = dict[str, Any]


@dataclass
class _Dataset:
    """One annotations file, its entries checked one by one.

    Attributes:
        scan: the part it belongs to.
        document: the file.
        image_ids: of all images, also of those with faults.
        categories: usable entries.
        images: usable entries.
        annotations: entries that name an image and a category.
    """

    scan: Scan
    document: Document
    image_ids: set[int | str] = field(default_factory=set)
    categories: list[Entry] = field(default_factory=list)
    images: list[Entry] = field(default_factory=list)
    annotations: list[Entry] = field(default_factory=list)

    @property
    def file(self) -> str:
        """Its path below the dataset's folder."""
        return self.document.file


def _find(scan: Scan) -> list[Document]:
    """Pick `_annotations.coco.json`, else `instances_*.json`, else any JSON with COCO's lists."""
    documents = scan.documents[".json"]
    named = [document for document in documents if document.path.name == ANNOTATIONS]
    instances = [document for document in documents if document.path.name.startswith(_INSTANCES)]
    return named or instances or [document for document in documents if _may_be_coco(document, scan)]


def are_subsets(documents: list[Document]) -> bool:
    """True if several files are the splits of one dataset: `instances_train.json`, `instances_val.json`."""
    splits = [split_name(_subset(document)) for document in documents]
    return all(splits) and len(set(splits)) == len(splits)


def _read(claims: list[Claim], task: Dataset) -> Found:
    """Read every part's annotations.

    Roboflow's category 0 is often an empty root. A category is dropped if another one names it as its
    `supercategory` and no annotation uses it (the rule of roboflow/rf-detr#1303). A crowd's box is a region to ignore;
    its outline counts for segmentation. If every annotation is a crowd, those drawn as run-length masks are objects:
    CVAT writes its brush's masks that way.
    """
    datasets: list[_Dataset] = []
    problems: list[Problem] = []
    whole: dict[int, bool] = {}
    for number, claim in enumerate(claims):
        opened = [_open(document, claim.scan) for document in claim.documents]
        datasets += [dataset for dataset, _ in opened if dataset]
        problems += [fault for _, faults in opened for fault in faults]
        whole[number] = all(dataset for dataset, _ in opened)
    names, faults = _categories(datasets, task)
    problems += faults
    problems += _uncrowd(datasets) if task == "detection" else []
    images: list[Annotated] = []
    listed: set[str] = set()
    for dataset in datasets:
        found, files, faults = _read_images(dataset, names, task)
        images += found
        listed |= files
        problems += faults
    for number, claim in enumerate(claims):
        # An unreadable file may list the images.
        if whole[number]:
            where = " or ".join(document.file for document in claim.documents)
            problems += claim.scan.unlisted(listed, f"is not listed in {where}")
    return Found([names[identity] for identity in sorted(names)], images, problems)


def _may_be_coco(document: Document, scan: Scan) -> bool:
    if document.fault:
        # A file with the name of an image has another format.
        return not scan.own_images(document)
    return isinstance(document.content, dict) and sum(key in document.content for key in _LISTS) > 1


def _subset(document: Document) -> str:
    return document.path.stem.removeprefix(_INSTANCES) if document.path.name.startswith(_INSTANCES) else ""


def _open(document: Document, scan: Scan) -> tuple[_Dataset | None, list[Problem]]:
    file, content = document.file, document.content
    if document.fault:
        return None, [document.fault]
    if not isinstance(content, dict):
        return None, [problem("annotations_broken", file, "is not a JSON object")]
    missing = [problem("annotations_incomplete", file, f"has no list {key!r}") for key in _LISTS if key not in content]
    missing += [
        problem("annotations_broken", file, f"{key!r} is not a list")
        for key in _LISTS
        if key in content and not isinstance(content[key], list)
    ]
    if missing:
        return None, missing
    lists: dict[str, list[Any]] = {key: [_with_plain_ids(entry) for entry in content[key]] for key in _LISTS}
    ids = {entry["id"] for entry in lists["images"] if isinstance(entry, dict) and _is_key(entry.get("id"))}
    dataset = _Dataset(scan, document, ids)
    problems: list[Problem] = []
    expected: tuple[tuple[str, list[Entry], dict[str, Callable[[object], bool]]], ...] = (
        ("categories", dataset.categories, {"id": _is_int, "name": is_name}),
        ("images", dataset.images, {"id": _is_key, "file_name": is_text}),
        ("annotations", dataset.annotations, {"image_id": _is_key, "category_id": _is_int}),
    )
    for key, target, checks in expected:
        code = "annotation_broken" if key == "annotations" else "annotations_incomplete"
        for number, entry in enumerate(lists[key]):
            wrong = _wrong_keys(entry, checks)
            if wrong:
                problems.append(problem(code, file, f"{key}[{number}]: missing or of the wrong type: {wrong}"))
            else:
                target.append(entry)
    return dataset, problems


def _wrong_keys(entry: object, checks: dict[str, Callable[[object], bool]]) -> str:
    if not isinstance(entry, dict):
        return "the entry itself"
    wrong = [key for key, check in checks.items() if not check(entry.get(key))]
    return ", ".join(f"{key} {str(entry[key])[:40]!r}" if key in entry else key for key in wrong)


def _with_plain_ids(entry: object) -> object:
    """Return an entry with the ids that are whole numbers as such: `"3"` is 3, and so is 3.0.

    VIA writes the ids of images as numbers and their annotations' as text. Tables turn 3 into 3.0 if another row is
    empty. `"007"` stays text: it may be another image than `"7"`.
    """
    if not isinstance(entry, dict):
        return entry
    # Most ids are numbers already; files have millions of them.
    odd = [key for key in ("id", "image_id", "category_id") if key in entry and type(entry[key]) is not int]
    return {**entry, **{key: _plain_id(entry[key]) for key in odd}} if odd else entry


def _plain_id(value: object) -> object:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return int(value.partition(".")[0]) if isinstance(value, str) and _WHOLE.fullmatch(value) else value


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_key(value: object) -> bool:
    return _is_int(value) or is_text(value)


def _categories(datasets: Iterable[_Dataset], task: Dataset) -> tuple[dict[int, str], list[Problem]]:
    """Return category id → name over all files; for detection without empty root categories."""
    names: dict[int, str] = {}
    parents: dict[str, set[int]] = defaultdict(set)
    used: set[int] = set()
    problems: list[Problem] = []
    file = ""
    for dataset in datasets:
        file = file or dataset.file
        used |= {annotation["category_id"] for annotation in dataset.annotations}
        for category in dataset.categories:
            identity, name = category["id"], category["name"]
            parents[str(category.get("supercategory", ""))].add(identity)
            if names.setdefault(identity, name) != name:
                reason = f"category {identity} is {names[identity]!r} and {name!r}"
                problems.append(problem("category_id_twice", dataset.file, reason))
    for name, count in Counter(names.values()).items():
        if count > 1:
            problems.append(problem("category_name_twice", file, f"the name {name!r} has {count} ids"))
    if task != "detection":
        return names, problems
    roots = {identity for identity, name in names.items() if parents[name] - {identity} and identity not in used}
    for identity in sorted(roots):
        reason = f"category {identity} {names[identity]!r} is an empty root"
        problems.append(problem("root_category_dropped", file, reason))
    kept = {identity: name for identity, name in names.items() if identity not in roots}
    problems += unused_classes(kept.values(), [names[identity] for identity in used if identity in names], file)
    return kept, problems


def _uncrowd(datasets: Iterable[_Dataset]) -> list[Problem]:
    """Make objects of the annotations if all of them are crowds with masks."""
    given = [(dataset, entry) for dataset in datasets for entry in dataset.annotations]
    if not given or not all(entry.get("iscrowd") for _, entry in given):
        return []
    file = given[0][0].file
    if not all(entry.get("segmentation") for _, entry in given):
        return [problem("crowds_only", file, f"each of its {len(given)} annotations is a crowd (iscrowd 1)")]
    for dataset, _ in given:
        dataset.annotations = [{**entry, "iscrowd": 0} for entry in dataset.annotations]
    return [problem("crowds_used", file, f"each of its {len(given)} annotations is a crowd (iscrowd 1) with a mask")]


def _read_images(
    dataset: _Dataset, names: dict[int, str], task: Dataset
) -> tuple[list[Annotated], set[str], list[Problem]]:
    """Return the file's images with their shapes, the files that it lists, and the problems."""
    shapes, problems = _shapes(dataset, names, task)
    images: list[Annotated] = []
    listed: set[str] = set()
    ids = Counter(image["id"] for image in dataset.images)
    subset = _subset(dataset.document)
    for identity, count in ids.items():
        if count > 1:
            problems.append(problem("image_id_twice", dataset.file, f"{count} images have the id {identity}"))
    for image in dataset.images:
        path = dataset.scan.locate(image["file_name"], dataset.file, subset)
        if not isinstance(path, Path):
            problems.append(path)
            continue
        listed.add(relative(path, dataset.scan.root))
        if ids[image["id"]] == 1:
            contents = Contents(shapes[image["id"]], stated_size(image.get("width"), image.get("height")))
            annotated = annotate(path, dataset.scan, dataset.document, contents, subset=subset)
            images.append(replace(annotated, name=_original_name(image)))
    return images, listed, problems


def _shapes(
    dataset: _Dataset, names: dict[int, str], task: Dataset
) -> tuple[dict[int | str, list[Shape]], list[Problem]]:
    """Return the usable annotations by image id."""
    ids = Counter(annotation["id"] for annotation in dataset.annotations if _is_key(annotation.get("id")))
    grouped: dict[int | str, list[Shape]] = defaultdict(list)
    sizes = {image["id"]: [image.get("height"), image.get("width")] for image in dataset.images}
    problems = [
        problem("annotation_id_twice", dataset.file, f"{count} annotations have the id {identity}")
        for identity, count in ids.items()
        if count > 1
    ]
    for number, annotation in enumerate(dataset.annotations):
        identity = annotation.get("id")
        call = str(identity) if _is_key(identity) else f"number {number}"
        image, category = annotation["image_id"], annotation["category_id"]
        if image not in dataset.image_ids:
            reason = f"annotation {call}: unknown image {image}"
            problems.append(problem("annotation_unknown_image", dataset.file, reason))
        elif category not in names:
            reason = f"annotation {call}: unknown category {category}"
            problems.append(problem("annotation_unknown_category", dataset.file, reason))
        else:
            grouped[image].append(_shape(annotation, names[category], call, sizes.get(image, [])))
    crowds = sum(shape.crowd for shapes in grouped.values() for shape in shapes)
    if crowds and task == "detection":
        problems.append(problem("crowd_ignored", dataset.file, f"{crowds} annotations mark crowds"))
    return grouped, problems


def _shape(annotation: Entry, name: str, call: str, size: list[object]) -> Shape:
    polygons: tuple[Polygon, ...] = ()
    run_lengths, fault = None, ""
    try:
        polygons, run_lengths = _outline(annotation.get("segmentation"), size)
    except OutlineError as error:
        fault = str(error)
    box = annotation.get("bbox")
    xywh = _numbers(box) if isinstance(box, list) and box else None
    if xywh and (polygons or run_lengths) and not all(isfinite(value) for value in xywh):
        xywh = None
    return Shape(name, call, xywh, polygons, run_lengths, fault, crowd=bool(annotation.get("iscrowd")))


def _outline(segmentation: object, size: list[object]) -> tuple[tuple[Polygon, ...], RunLengths | None]:
    """Return the polygons or the run lengths of an annotation, if it has any; `size` is its image's height and width.

    Raises:
        OutlineError: it has some that cannot be used.
    """
    if not segmentation:
        return (), None
    if isinstance(segmentation, list) and len(segmentation) == 1 and isinstance(segmentation[0], dict):
        (segmentation,) = segmentation
    if isinstance(segmentation, dict):
        return (), check_run_lengths(segmentation.get("size", size), segmentation.get("counts"))
    if not isinstance(segmentation, list):
        raise OutlineError("its segmentation is neither polygons nor run lengths")
    if not any(isinstance(values, (list, dict)) for values in segmentation):
        # VIA writes the one outline without the list around it.
        return (check_polygon(segmentation),), None
    if len(segmentation) > 2 and all(isinstance(values, list) and len(values) == 2 for values in segmentation):
        return (check_polygon([value for point in segmentation for value in point]),), None
    return tuple(check_polygon(values) for values in segmentation), None


def _numbers(box: list[Any]) -> Box:
    """Return four numbers; anything else becomes NaN, which the check of the boxes reports."""
    sane = len(box) == 4 and all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in box)
    if not sane:
        return (float("nan"),) * 4
    x, y, width, height = (to_float(value) for value in box)
    return x, y, width, height


def _original_name(image: Entry) -> str:
    """Return the name that identifies the photo: the file's, or Roboflow's own if a later tool renamed the file."""
    name = PurePosixPath(image["file_name"].replace("\\", "/")).name
    extra = image.get("extra")
    kept = extra.get("name") if isinstance(extra, dict) else None
    return kept if ".rf." not in name and is_text(kept) and ".rf." in kept else name


COCO = Format("COCO JSON", (".json",), per_image=False, find=_find, read=_read)
