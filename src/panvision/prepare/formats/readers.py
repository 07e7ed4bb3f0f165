"""The way into a task's folder: whatever form its labels have, they become one `Reading`.

Libraries for this (supervision, datumaro, globox, PyLabel) were weighed: they raise at the first fault or pass over
it, without file and line, where every fault is to be listed here, and they pull in OpenCV, SciPy, matplotlib, pandas
or a browser's worth of others. What is read here is six small formats, for which the standard library, PyYAML,
Pillow and NumPy suffice.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from panvision.core.tasks import Dataset
from panvision.dataset.paths import relative
from panvision.dataset.problems import Problem, problem
from panvision.photos.pixels import IMAGE_SUFFIXES
from panvision.prepare.formats.annotated import Found, to_reading
from panvision.prepare.formats.coco import ANNOTATIONS, are_subsets, find_coco, read_coco
from panvision.prepare.formats.cvat import find_cvat, read_cvat
from panvision.prepare.formats.documents import Claim, Document, Scan, scan_part
from panvision.prepare.formats.folders import read_classification, read_segmentation
from panvision.prepare.formats.labelme import find_labelme, read_labelme
from panvision.prepare.formats.layout import Part, Reading, find_parts, list_folder
from panvision.prepare.formats.voc import find_voc, read_voc
from panvision.prepare.formats.yolo import find_yolo, read_yolo

COCO, YOLO, VOC, LABELME, CVAT = "COCO JSON", "YOLO text", "Pascal VOC XML", "LabelMe JSON", "CVAT XML"

# Formats with one file for all images of a part.
_SINGLE = (COCO, CVAT)


def read_set(task: Dataset, root: Path) -> Reading:
    """Read the labels of a task's folder, whichever of the known formats they are in.

    Detection reads COCO, YOLO, Pascal VOC, LabelMe and CVAT, one of them in each part (the folder itself, or its
    train, valid and test folders). Segmentation reads mask files where there are any (`masks/`, `SegmentationClass/`
    or `*_mask.*` beside the images), and annotation files are then passed over; else it reads the outlines in any of
    these formats, all of them together as pan, whatever their class. Classification reads class folders.

    Args:
        task: which labels are wanted.
        root: the task's folder.
    """
    if task == "classification":
        return read_classification(root)
    parts, problems = find_parts(root)
    if task == "segmentation" and any(_has_masks(part, root) for part in parts):
        return read_segmentation(root)
    claims: dict[str, list[Claim]] = {}
    scans = [scan_part(part, root) for part in parts]
    for scan in scans:
        formats = {name: documents for name, documents in _formats(scan) if documents}
        problems += _drop_broken(formats)
        fault = _judge(formats, scan)
        if fault:
            problems.append(fault)
            continue
        for name, documents in formats.items():
            claims.setdefault(name, []).append(Claim(scan, documents))
    if task == "segmentation" and not claims and not any(fault.code == "annotations_twice" for fault in problems):
        # Neither masks nor annotations: what is missing is said image by image.
        return read_segmentation(root)
    read = [_read(name, claims[name], task) for name in claims]
    folders = {claim.documents[0].file.split("/")[0] for name in claims for claim in claims[name]}
    # `annotations/` beside the split folders is no other layout if their labels were read from it.
    problems = [fault for fault in problems if fault.code != "layout_mixed" or fault.file not in folders]
    problems += [fault for scan in scans for fault in scan.problems]
    return to_reading(task, [Found(problems=problems), *read])


def _has_masks(part: Part, root: Path) -> bool:
    """Whether a part has a folder for masks, or an image with a mask beside it."""
    if part.masks is not None:
        return True
    files = list_folder(part.images, root).files
    stems = {path.stem for path in files if path.suffix.lower() in IMAGE_SUFFIXES}
    return any(f"{stem}_mask" in stems for stem in stems)


def _formats(scan: Scan) -> Iterator[tuple[str, list[Document]]]:
    yield COCO, find_coco(scan)
    yield YOLO, find_yolo(scan)
    yield VOC, find_voc(scan)
    yield LABELME, find_labelme(scan)
    yield CVAT, find_cvat(scan)


def _drop_broken(formats: dict[str, list[Document]]) -> list[Problem]:
    """Drop formats of which no file can be read where another format has one: they were only guessed by their names."""
    broken = [name for name, documents in formats.items() if all(document.fault for document in documents)]
    if len(broken) == len(formats):
        return []
    faults = [document.fault for name in broken for document in formats.pop(name) if document.fault]
    return [replace(fault, severity="warning") for fault in faults]


def _judge(formats: dict[str, list[Document]], scan: Scan) -> Problem | None:
    """What keeps a part from being read: no annotations, or more than one kind."""
    if not formats:
        if not scan.images:
            return None
        file = relative(scan.part.folder / ANNOTATIONS, scan.root)
        reason = (
            "is absent, and so are other files of COCO (annotations/instances_*.json), YOLO (labels/*.txt), VOC (*.xml "
            "beside the images or in Annotations/), LabelMe (*.json beside the images) and CVAT (annotations.xml)"
        )
        return problem("annotations_missing", file, reason)
    first = next(iter(formats.values()))[0].file
    if len(formats) > 1:
        kinds = " and ".join(f"{name} ({documents[0].file})" for name, documents in formats.items())
        return problem("annotations_twice", first, f"the images are labelled in {kinds}")
    ((name, documents),) = formats.items()
    if name in _SINGLE and len(documents) > 1 and not (name == COCO and are_subsets(documents)):
        files = ", ".join(document.file for document in documents[1:])
        return problem("annotations_twice", first, f"is one of several files in {name}; the others: {files}")
    return None


def _read(name: str, claims: list[Claim], task: Dataset) -> Found:
    if name == COCO:
        return read_coco(claims, task)
    if name == YOLO:
        return read_yolo(claims, task)
    if name == VOC:
        return read_voc(claims)
    return read_labelme(claims) if name == LABELME else read_cvat(claims, task)
