"""The way into a dataset's folder: labels of any known format become one `Reading`.

Libraries for this (supervision, datumaro, globox, PyLabel) raise at the first fault or skip it, without file and line,
where every fault must be listed here. They also pull in OpenCV, SciPy or matplotlib. The formats are small: the
standard library, PyYAML, Pillow and NumPy suffice.
"""

from dataclasses import replace
from pathlib import Path

from panvision.core.tasks import Dataset
from panvision.dataset.paths import relative
from panvision.dataset.problems import Problem, problem
from panvision.photos.pixels import IMAGE_SUFFIXES
from panvision.prepare.formats.annotated import Found, to_reading
from panvision.prepare.formats.coco import ANNOTATIONS, COCO, are_subsets
from panvision.prepare.formats.cvat import CVAT
from panvision.prepare.formats.documents import Claim, Document, Format, Scan, scan_part
from panvision.prepare.formats.flat import read_flat
from panvision.prepare.formats.folders import read_classification, read_segmentation
from panvision.prepare.formats.labelme import LABELME
from panvision.prepare.formats.layout import Part, Reading, find_parts, list_folder
from panvision.prepare.formats.mask_labels import PanClasses
from panvision.prepare.formats.unread import find_unread
from panvision.prepare.formats.voc import VOC
from panvision.prepare.formats.yolo import YOLO

# Every label format that is read. A part of a dataset may use one of them.
FORMATS: tuple[Format, ...] = (COCO, YOLO, VOC, LABELME, CVAT)


def read_set(task: Dataset, root: Path, pan_classes: PanClasses = None) -> Reading:
    """Read the labels of a dataset's folder, whichever of the known formats they have.

    Detection reads any of `FORMATS`, one in each part (the folder itself, or its train, valid and test folders).
    Segmentation reads mask files if there are any (`masks/`, `SegmentationClass/` or `*_mask.*` beside the images), and
    then ignores annotation files; otherwise it reads the outlines of any of `FORMATS`. Classification reads class
    folders.

    Args:
        task: the dataset, which decides what labels are wanted.
        root: its folder.
        pan_classes: `data.pan_classes`: the labels that are pan; None: the only one; "all".
    """
    if task == "classification":
        return read_classification(root)
    parts, problems = find_parts(root)
    if task == "segmentation" and any(_has_masks(part, root) for part in parts):
        return read_segmentation(root, pan_classes)
    suffixes = {suffix for one in FORMATS for suffix in one.suffixes}
    scans = [scan_part(part, root, suffixes) for part in parts]
    # By format, in the order of the parts: classes of several formats are numbered in order of appearance.
    claims: dict[str, list[Claim]] = {}
    for scan in scans:
        found = {one.name: documents for one in FORMATS if (documents := one.find(scan))}
        problems += _drop_broken(found)
        if fault := _check_choice(found, scan):
            problems.append(fault)
            continue
        for name, documents in found.items():
            claims.setdefault(name, []).append(Claim(scan, documents))
    named = {"annotations_twice", "annotations_unread"}
    if task == "segmentation" and not claims and not named & {fault.code for fault in problems}:
        # Neither masks nor annotations: every image without a mask is reported.
        return read_segmentation(root, pan_classes)
    formats = {one.name: one for one in FORMATS}
    read = [formats[name].read(own, task) for name, own in claims.items()]
    folders = {claim.documents[0].file.split("/")[0] for own in claims.values() for claim in own}
    # `annotations/` beside the split folders is not another layout if their labels were read from it.
    problems = [fault for fault in problems if fault.code != "layout_mixed" or fault.file not in folders]
    problems += [fault for scan in scans for fault in scan.problems]
    return to_reading(task, [Found(problems=problems), *read], pan_classes)


def guess_dataset(root: Path) -> Dataset:
    """Return the dataset that a folder's labels are for: masks, then annotation files, else classes."""
    parts, _ = find_parts(root)
    if any(_has_masks(part, root) for part in parts):
        return "segmentation"
    suffixes = {suffix for one in FORMATS for suffix in one.suffixes}
    scans = [scan_part(part, root, suffixes) for part in parts]
    boxes = any(one.find(scan) for scan in scans for one in FORMATS) or any(map(find_unread, scans))
    flags = all(read_flat(part, root) for part in parts)
    return "detection" if boxes and not flags else "classification"


def _has_masks(part: Part, root: Path) -> bool:
    """True if a part has a folder for masks, or an image with a mask beside it."""
    if part.masks is not None:
        return True
    files = list_folder(part.images, root).files
    stems = {path.stem for path in files if path.suffix.lower() in IMAGE_SUFFIXES}
    return any(f"{stem}_mask" in stems for stem in stems)


def _drop_broken(found: dict[str, list[Document]]) -> list[Problem]:
    """Drop formats without a readable file if another format has one: only their names suggested the format."""
    broken = [name for name, documents in found.items() if all(document.fault for document in documents)]
    if len(broken) == len(found):
        return []
    faults = [document.fault for name in broken for document in found.pop(name) if document.fault]
    return [replace(fault, severity="warning") for fault in faults]


def _check_choice(found: dict[str, list[Document]], scan: Scan) -> Problem | None:
    """Return what keeps a part from being read: no annotations, several formats, or several files of one."""
    if not found:
        if not scan.images:
            return None
        if unread := find_unread(scan):
            return unread
        names = ", ".join(one.name for one in FORMATS)
        file = relative(scan.part.folder / ANNOTATIONS, scan.root)
        unknown = next((document.file for suffix in (".json", ".xml") for document in scan.documents[suffix]), "")
        also = f"; {unknown} has another format, or no labels" if unknown else ""
        return problem("annotations_missing", file, f"is absent, and there is no other file of {names}{also}")
    first = next(iter(found.values()))[0].file
    if len(found) > 1:
        kinds = " and ".join(f"{name} ({documents[0].file})" for name, documents in found.items())
        return problem("annotations_twice", first, f"the images are labelled in {kinds}")
    ((name, documents),) = found.items()
    single = any(one.name == name and not one.per_image for one in FORMATS)
    if single and len(documents) > 1 and not are_subsets(documents):
        files = ", ".join(document.file for document in documents[1:])
        return problem("annotations_twice", first, f"is one of several files in {name}; the others: {files}")
    return None
