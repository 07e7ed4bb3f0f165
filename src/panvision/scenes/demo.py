"""The three demo sets in the raw layout that users have."""

import functools
import multiprocessing
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from panvision.core.files import write_json
from panvision.scenes.frames import CATEGORIES, Frame, draw_presence, render_frame
from panvision.scenes.onions import STATES
from panvision.scenes.photo import encode_jpeg
from panvision.scenes.settings import SceneSettings
from panvision.scenes.units import make_unit

SETS = ("segmentation", "detection", "classification")
ANNOTATIONS = "detection/_annotations.coco.json"
DESCRIPTION = "rendered demo scenes"  # by it, demo sets are recognised as such


class DemoError(ValueError):
    """The demo sets cannot be written; the message names the folder and the remedy."""


@dataclass(frozen=True)
class Boxes:
    """Truth of one detection photo: number of the photo, and category and box of each object."""

    index: int
    objects: tuple[tuple[str, tuple[int, int, int, int]], ...]


def write_demo_sets(root: Path, settings: SceneSettings, *, workers: int = 1) -> None:
    """Render the three sets below `root`, replacing demo sets that are there.

    Everything is written beside `root` first and moved there at the end: `root` never holds half-written files.
    Every photo depends on the seed, its set and its number alone: more photos in one set change nothing in the
    others, and `workers` changes no byte.

    Args:
        root: folder of the raw layout.
        settings: counts, size, units, difficulty, seed.
        workers: processes that render.

    Raises:
        DemoError: `root` is a file, or holds something that is not a demo set.
    """
    _check_replaceable(root)
    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{root.name}.", dir=root.parent) as scratch:
        fresh = Path(scratch) / "fresh"
        _make_folders(fresh)
        render = functools.partial(_render_unit, fresh, settings)
        numbers = range(min(settings.units, max(settings.images.model_dump().values())))
        if workers > 1:
            context = multiprocessing.get_context("spawn")
            # One OpenCV thread in each: the processes already fill the cores.
            with ProcessPoolExecutor(workers, context, cv2.setNumThreads, (1,)) as pool:
                truths = list(pool.map(render, numbers))
        else:
            truths = [render(number) for number in numbers]
        boxes = sorted((item for truth in truths for item in truth), key=lambda item: item.index)
        _write_coco(fresh / ANNOTATIONS, boxes, settings)
        if root.exists():
            root.rename(Path(scratch) / "old")
        fresh.rename(root)


def _check_replaceable(root: Path) -> None:
    """Raise DemoError if replacing `root` would delete anything but demo sets."""
    if root.exists() and not root.is_dir():
        raise DemoError(f"{root}: is a file; name a folder for the demo datasets")
    # Hidden files are the file manager's; a hidden folder may be a repository.
    found = {path.name for path in root.iterdir() if path.is_dir() or path.name[0] != "."} if root.is_dir() else set()
    strangers = sorted(found - set(SETS))
    if strangers:
        raise DemoError(f"{root}: also holds {', '.join(strangers)}; name a folder for the demo datasets alone")
    # A user's own photos are in folders of the same names.
    if found and not _is_rendered(root):
        raise DemoError(f"{root}: holds datasets that were not rendered here; name another folder")


def _is_rendered(root: Path) -> bool:
    """True if the datasets below `root` are demo datasets."""
    try:
        return DESCRIPTION in (root / ANNOTATIONS).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return False


def _make_folders(root: Path) -> None:
    """Empty folders of the raw layout."""
    for folder in ("segmentation/images", "segmentation/masks", "detection/images"):
        (root / folder).mkdir(parents=True)
    for state in STATES:
        (root / "classification" / "images" / state).mkdir(parents=True)


def _render_unit(root: Path, settings: SceneSettings, number: int) -> list[Boxes]:
    """Render and write every photo of one unit; returns the truth of its detection photos."""
    unit = make_unit(settings, number)
    truths = []
    for set_number, name in enumerate(SETS):
        for index in range(getattr(settings.images, name)):
            unit_number, state = _turn(name, index, settings.units)
            if unit_number != number:
                continue
            rng = np.random.default_rng([settings.seed, set_number, index])
            presence = draw_presence(rng, unit, pan_may_lack=name != "classification")
            frame = render_frame(rng, unit, state=state, presence=presence, difficulty=settings.difficulty)
            jpeg = encode_jpeg(rng, frame.photo, difficulty=settings.difficulty)
            folder = root / name / "images" / (state if name == "classification" else "")
            (folder / f"{_stem(name, index)}.jpg").write_bytes(jpeg)
            if name == "segmentation":
                _write_mask(root / name / "masks" / f"{_stem(name, index)}.png", frame)
            elif name == "detection":
                truths.append(Boxes(index, tuple((thing.category, thing.box) for thing in frame.things)))
    return truths


def _turn(name: str, index: int, units: int) -> tuple[int, str]:
    """Unit and state of a photo: all pairs come round in turn, the states fastest in classification."""
    if name == "classification":
        return index // len(STATES) % units, STATES[index % len(STATES)]
    return index % units, STATES[index // units % len(STATES)]


def _stem(name: str, index: int) -> str:
    """File name of a photo without its suffix."""
    return f"{name[:3]}_{index:05d}"


def _write_mask(path: Path, frame: Frame) -> None:
    """Return the pan as a grey PNG, 0 and 255; all 0 without a pan."""
    mask = np.zeros(frame.photo.shape[:2], np.uint8)
    for thing in frame.things:
        if thing.category == "pan":
            mask[thing.mask] = 255
    ok, encoded = cv2.imencode(".png", mask)
    if not ok:
        raise RuntimeError("OpenCV could not encode a PNG")
    path.write_bytes(encoded.tobytes())


def _write_coco(path: Path, truths: list[Boxes], settings: SceneSettings) -> None:
    """COCO annotations; all ids start at 1."""
    images = [
        {
            "id": truth.index + 1,
            "file_name": f"{_stem('detection', truth.index)}.jpg",
            "width": settings.width,
            "height": settings.height,
        }
        for truth in truths
    ]
    objects = [(truth.index + 1, category, box) for truth in truths for category, box in truth.objects]
    annotations = [
        {
            "id": number,
            "image_id": image,
            "category_id": CATEGORIES.index(category) + 1,
            "bbox": list(box),
            "area": box[2] * box[3],
            "iscrowd": 0,
        }
        for number, (image, category, box) in enumerate(objects, start=1)
    ]
    categories = [
        {"id": number, "name": name, "supercategory": "cooking"} for number, name in enumerate(CATEGORIES, start=1)
    ]
    write_json(
        path,
        {
            "info": {"description": DESCRIPTION},
            "images": images,
            "annotations": annotations,
            "categories": categories,
        },
    )
