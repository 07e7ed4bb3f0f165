"""One labelled image from its files: decoded once, checked, and brought to the packed size."""

import functools
import math
import os
import posixpath
import stat
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from panvision.core.tasks import Dataset
from panvision.dataset.descriptors import PLAIN, make_look
from panvision.dataset.packed import CROWD
from panvision.dataset.paths import is_link, leaves_root, photo_name
from panvision.dataset.problems import Problem, problem
from panvision.photos.masks import Mask, MaskSizeError, looks_inverted, pack_mask, read_mask
from panvision.photos.orientation import MaskArray
from panvision.photos.pixels import (
    SUFFIXES,
    ImageEmptyError,
    ImageError,
    ImageTooLargeError,
    ImageTruncatedError,
    Picture,
    RgbArray,
    ends_early,
    is_cut,
    read_picture,
    resize_image,
)
from panvision.photos.settings import DataSettings
from panvision.prepare.capture import capture_time
from panvision.prepare.formats.boxes import PlacedBoxes, place_boxes
from panvision.prepare.formats.layout import OUTSIDE, BoxLabels, Sample
from panvision.prepare.formats.outlines import draw_mask
from panvision.prepare.hashes import file_hash, pixel_hash

Kind = Literal["image", "mask"]

# Columns of index.csv. `group` is the photo that the file was made from, `roboflow` says whether an export names it
# (a plain stem such as 0001 means nothing across folders); `split` is the user's own, if the folders give one; `taken`
# and `camera` are those of `Capture`, and `drawn` is the packed file of a mask that was drawn.
INDEX_COLUMNS = ("file", "width", "height", "sha256", "pixels", "group", "roboflow", "split", "taken", "camera")
LABEL_COLUMNS: dict[Dataset, tuple[str, ...]] = {
    "segmentation": ("mask", "pan_fraction", "drawn"),
    "detection": ("boxes",),
    "classification": ("label",),
}

# A JPEG file that ends in this many zero bytes may be incomplete.
_ZEROS = 16
# Modes whose pixels become 8-bit RGB without loss.
_PLAIN_MODES = frozenset({"1", "L", "P", "RGB"})
_IMAGE_CODES = {
    ImageEmptyError: "image_empty",
    ImageTruncatedError: "image_truncated",
    ImageTooLargeError: "image_too_large",
}


class Facts(NamedTuple):
    """Facts about one decoded sample.

    Attributes:
        size: width and height of the upright image in pixels.
        pan_fraction: fraction of the image that is pan, 0 to 1; None without a usable mask.
        mask_labels: the labels in the mask's file (`Mask.labels`).
    """

    size: tuple[int, int]
    pan_fraction: float | None = None
    mask_labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Loaded:
    """One sample, decoded and labelled; without `image` it cannot be used, and `problems` says why.

    Attributes:
        problems: problems of the image and its labels.
        facts: what the checks of the whole dataset need; None if the image cannot be decoded.
        image: (S, S, 3) uint8 RGB.
        look: (64, 64) uint8 grey thumbnail, by which copies are recognised.
        index: the values of INDEX_COLUMNS and LABEL_COLUMNS, without `drawn`: that file is not written yet.
        coverage: (S, S) uint8, 255 where all of a pixel is pan; segmentation only.
        drawn: the mask was drawn from outlines; it has no file.
        full_mask: (H, W) uint8 0 or 1, the drawn mask at the image's own size.
        boxes: detection only.
    """

    problems: list[Problem]
    facts: Facts | None = None
    image: RgbArray | None = None
    look: npt.NDArray[np.uint8] | None = None
    index: tuple[object, ...] = ()
    coverage: MaskArray | None = None
    drawn: bool = False
    full_mask: MaskArray | None = None
    boxes: PlacedBoxes | None = None


def load_sample(sample: Sample, root: Path, settings: DataSettings) -> Loaded:
    """Decode and check one sample; no content of its files raises.

    Args:
        sample: the result of a reader.
        root: the dataset's folder.
        settings: the `data` section.
    """
    with warnings.catch_warnings():
        # Pillow's warnings (damaged metadata, sizes near its own limit) add nothing to the problems.
        warnings.simplefilter("ignore")
        content, faults = _read(sample.file, root, "image")
        if content is None:
            return Loaded(faults)
        try:
            picture = read_picture(sample.file, max_pixels=settings.max_pixels, content=content)
        except ImageError as error:
            code = _IMAGE_CODES.get(type(error), "image_undecodable")
            return Loaded([problem(code, sample.file, _reason(error, sample.file))])
        packed = resize_image(picture.image, settings.image_size)
        look = make_look(picture.image, packed)
        problems = list(_image_problems(picture, look, content, sample.file, settings.min_side))
        labels, mask, boxes, faults = _labels(sample, picture, root, settings)
        problems += [*faults, *_unclear_rotation(sample, picture)]
        pan = None if mask is None else mask.pan
        share = None if pan is None else round(np.count_nonzero(pan) / pan.size, 6)
        facts = Facts(picture.size, share, () if mask is None else mask.labels)
        if any(found.severity == "error" for found in problems):
            return Loaded(problems, facts)
        image = np.asarray(packed)
        # A mask that a table of labels explains is stored as it was understood: only this stage knows the table.
        drawn = sample.outlines is not None or sample.mask_table is not None
        return Loaded(
            problems,
            facts,
            image=image,
            look=look,
            index=(*_index_row(sample, picture, image, content), *labels, *(() if share is None else (share,))),
            coverage=None if pan is None else pack_mask(pan, settings.image_size),
            drawn=drawn,
            full_mask=pan if drawn else None,
            boxes=boxes,
        )


def _labels(
    sample: Sample, picture: Picture, root: Path, settings: DataSettings
) -> tuple[tuple[object, ...], Mask | None, PlacedBoxes | None, list[Problem]]:
    """Return the first values of LABEL_COLUMNS, the mask, the boxes, and their problems."""
    if sample.mask:
        mask, faults = _load_mask(sample, picture, root, settings.max_pixels)
        return (sample.mask,), mask, None, faults
    if sample.outlines is not None:
        pan, faults = draw_mask(sample.outlines, picture, sample.file)
        if pan is None:
            return ("",), None, None, faults
        return ("",), Mask(pan), None, [*faults, *_mask_problems(pan, sample.file)]
    if sample.boxes is not None:
        boxes, faults = place_boxes(sample.boxes, picture, sample.file, zero_area=settings.zero_area_boxes)
        return (int((boxes.labels > CROWD).sum()),), None, boxes, faults
    return (sample.label,), None, None, []


def _unclear_rotation(sample: Sample, picture: Picture) -> Iterator[Problem]:
    """Find fractions on an EXIF-rotated image: they do not say if they were drawn before or after the rotation."""
    given = sample.boxes or sample.outlines
    if picture.orientation == 1 or given is None or not given.relative or given.size:
        return
    if given.xywh if isinstance(given, BoxLabels) else given.polygons:
        reason = f"its labels were taken as drawn after the EXIF rotation {picture.orientation}, which they do not say"
        yield problem("rotation_unclear", sample.file, reason)


def _read(file: str, root: Path, kind: Kind) -> tuple[bytes | None, list[Problem]]:
    """Return a file's bytes, or the problem of reading it."""
    # Strings, because pathlib takes as long for a path as the system for the file.
    folder, name = posixpath.split(file)
    path = os.path.join(root, file)  # noqa: PTH118 -- see above
    try:
        # A file that is not a link is in its folder, which is checked once for all files of a folder.
        plain = stat.S_ISREG(os.lstat(path).st_mode) and name != ".."
        if _folder_leaves(folder, str(root)) if plain else leaves_root(root / file, root):
            return None, [problem("link_escapes", file, OUTSIDE)]
        if not plain and not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116 -- see above
            # Reading a pipe or a device may never end.
            return None, [problem(f"{kind}_undecodable", file, "is not a file")]
        with open(path, "rb", buffering=0) as stream:  # noqa: PTH123 -- see above
            return stream.readall(), []
    except PermissionError:
        return None, [problem("not_permitted", file, "may not be read")]
    except OSError as error:
        reason = error.strerror or type(error).__name__
        if is_link(root / file):
            return None, [problem("link_broken", file, f"is a link to nothing: {reason}")]
        missing = isinstance(error, FileNotFoundError)
        return None, [problem(f"{kind}_missing" if missing else f"{kind}_undecodable", file, reason)]


@functools.lru_cache(maxsize=256)
def _folder_leaves(folder: str, root: str) -> bool:
    return leaves_root(Path(root, folder), Path(root))


def _image_problems(
    picture: Picture, look: npt.NDArray[np.uint8], content: bytes, file: str, min_side: int
) -> Iterator[Problem]:
    """Find what is odd about an image that can be decoded."""
    width, height = picture.size
    if picture.format == "JPEG" and content.endswith(bytes(_ZEROS)) and ends_early(content):
        zeros = len(content) - len(content.rstrip(b"\0"))
        # Pillow decodes the zeros as grey.
        yield problem("image_truncated", file, f"its last {zeros} bytes are zero, and its end is missing")
    elif picture.format == "JPEG" and is_cut(content, picture):
        yield problem("image_truncated", file, "its data end early: the rest of the image is grey, or lacks detail")
    if posixpath.splitext(file)[1].lower() not in SUFFIXES.get(picture.format, ()):
        yield problem("extension_wrong", file, f"holds an image in the format {picture.format}")
    if picture.frames > 1:
        yield problem("image_animated", file, f"holds {picture.frames} images")
    if min(width, height) < min_side:
        yield problem("image_tiny", file, f"is {width}x{height} pixels, less than {min_side} on one side")
    spread = _spread(look)
    if spread < PLAIN:
        yield problem("image_blank", file, f"is nearly uniform: its grey levels vary by {spread:.1f}")
    if picture.orientation != 1:
        yield problem("exif_rotated", file, f"was turned by its EXIF orientation {picture.orientation}")
    if picture.mode not in _PLAIN_MODES:
        yield problem("mode_converted", file, f"is {picture.mode}; {_conversion(picture.mode)}")


def _spread(look: npt.NDArray[np.uint8]) -> float:
    """Return the standard deviation of the grey levels; the sums are whole numbers, which float64 holds exactly."""
    levels = look.ravel().astype(np.float64)
    return math.sqrt(int(levels @ levels) * levels.size - int(levels.sum()) ** 2) / levels.size


def _conversion(mode: str) -> str:
    """Describe what `image_to_rgb` does to a mode."""
    if mode.partition(";")[0] in ("RGBA", "LA", "PA", "La", "RGBa") or mode.endswith("transparency"):
        return "transparency was laid on white"
    if mode == "I" or ";16" in mode:
        return "the high byte was kept"
    if mode == "F":
        return "its values were brought to 0..255"
    return "its colours were converted to RGB"


def _load_mask(sample: Sample, picture: Picture, root: Path, max_pixels: int) -> tuple[Mask | None, list[Problem]]:
    """Return the mask of a file, as upright as its image, and its problems."""
    file = sample.mask
    content, faults = _read(file, root, "mask")
    if content is None:
        return None, faults
    try:
        mask = read_mask(
            file,
            stored_size=picture.stored_size,
            orientation=picture.orientation,
            max_pixels=max_pixels,
            content=content,
            table=sample.mask_table,
        )
    except MaskSizeError as error:
        return None, [problem("mask_size", file, str(error))]
    except ImageError as error:
        # Only a mask of another size than its image, which was small enough, can be too large.
        code = "mask_size" if isinstance(error, ImageTooLargeError) else "mask_undecodable"
        return None, [problem(code, file, _reason(error, file))]
    return mask, [*_file_problems(mask, sample), *([] if mask.unseen else _mask_problems(mask.pan, file))]


def _file_problems(mask: Mask, sample: Sample) -> Iterator[Problem]:
    """Find what is odd about a mask's file."""
    if mask.turned:
        yield problem("mask_rotated", sample.mask, f"was turned with its image {sample.file}")
    if mask.unseen:
        reason = "marks no pan: all that it draws is black or less than half opaque; draw the pan opaque and white"
        yield problem("mask_empty", sample.mask, reason)
    if mask.between > 0:
        share = f"{mask.between:.1%} of the pixels are neither background nor the brightest value"
        yield problem("mask_not_binary", sample.mask, share)


def _mask_problems(pan: MaskArray, file: str) -> list[Problem]:
    """Find what is odd about the area that a mask marks."""
    marked = np.count_nonzero(pan)
    if marked == 0:
        return [problem("mask_empty", file, "marks no pan")]
    if marked == pan.size:
        return [problem("mask_full", file, "marks the whole image as pan")]
    if looks_inverted(pan):
        share = f"marks {pan.mean():.0%} of the image, its border included, but not the middle"
        return [problem("mask_inverted", file, share)]
    return []


def _index_row(sample: Sample, picture: Picture, image: RgbArray, content: bytes) -> tuple[object, ...]:
    """Return the values of INDEX_COLUMNS."""
    photo, roboflow = photo_name(sample.name)
    capture = capture_time(picture.exif, sample.name)
    hashes = (file_hash(content), pixel_hash(image, picture.size))
    taken = "" if capture.taken is None else capture.taken
    return (sample.file, *picture.size, *hashes, photo, int(roboflow), sample.split, taken, capture.camera)


def _reason(error: ImageError, name: str) -> str:
    """Return the message without the name that the problem states anyway."""
    return str(error).removeprefix(f"{name}: ")
