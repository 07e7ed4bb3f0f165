"""One labelled image from its files: decoded once, checked, brought to the packed size."""

import functools
import math
import os
import posixpath
import stat
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from panvision.core.tasks import Dataset
from panvision.dataset.descriptors import PLAIN, make_look
from panvision.dataset.paths import is_link, leaves_root, photo_name
from panvision.dataset.problems import Problem, problem
from panvision.photos.masks import Mask, MaskSizeError, looks_inverted, read_mask
from panvision.photos.orientation import MaskArray
from panvision.photos.pixels import (
    ImageEmptyError,
    ImageError,
    ImageTooLargeError,
    ImageTruncatedError,
    Picture,
    RgbArray,
    ends_early,
    read_picture,
    resize_image,
)
from panvision.photos.settings import DataSettings
from panvision.prepare.capture import capture_time
from panvision.prepare.formats.boxes import PlacedBoxes, place_boxes
from panvision.prepare.formats.layout import OUTSIDE, OutlineLabels, Sample
from panvision.prepare.formats.outlines import draw_mask
from panvision.prepare.hashes import file_hash, pixel_hash

Kind = Literal["image", "mask"]

# Columns of index.csv. `group` is the photo that the file was made from, `roboflow` whether an export says so
# (a plain stem such as 0001 means nothing across folders); `split` is the user's own, if the folders give one; `taken`
# and `camera` are those of `Capture`, and `drawn` is the packed file of a mask that has no file of its own.
INDEX_COLUMNS = ("file", "width", "height", "sha256", "pixels", "group", "roboflow", "split", "taken", "camera")
LABEL_COLUMNS: dict[Dataset, tuple[str, ...]] = {
    "segmentation": ("mask", "pan_fraction", "drawn"),
    "detection": ("boxes",),
    "classification": ("label",),
}

# A JPEG file that ends in so many zero bytes may never have been written to its end.
_ZEROS = 16
# Modes whose pixels become 8-bit RGB without losing anything.
_PLAIN_MODES = frozenset({"1", "L", "P", "RGB"})
_SUFFIXES = {
    "JPEG": (".jpg", ".jpeg"),
    "PNG": (".png",),
    "BMP": (".bmp",),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
}


@dataclass(frozen=True)
class Loaded:
    """One sample, decoded and labelled; without `image` it cannot be used, and `problems` says why.

    Attributes:
        problems: what is wrong with the image and its labels.
        image: (S, S, 3) uint8 RGB.
        look: (64, 64) uint8 grey levels, by which copies are recognised.
        index: the values of INDEX_COLUMNS and LABEL_COLUMNS, but for `drawn`: that file is yet to be written.
        mask: (S, S) uint8 0 or 1; segmentation only.
        drawn: the mask was drawn from outlines; there is no file of it.
        full_mask: (H, W) uint8 0 or 1, the drawn mask at the picture's own size.
        boxes: detection only.
    """

    problems: list[Problem]
    image: RgbArray | None = None
    look: npt.NDArray[np.uint8] | None = None
    index: tuple[object, ...] = ()
    mask: MaskArray | None = None
    drawn: bool = False
    full_mask: MaskArray | None = None
    boxes: PlacedBoxes | None = None


@dataclass(frozen=True, slots=True)
class _Seen:
    """A decoded picture, the same at the packed size, its look, and the file's bytes."""

    picture: Picture
    packed: RgbArray
    look: npt.NDArray[np.uint8]
    content: bytes


def load_sample(sample: Sample, root: Path, settings: DataSettings) -> Loaded:
    """Decode and check one sample; nothing that its files hold raises.

    Args:
        sample: as a reader found it.
        root: the task's folder.
        settings: the `data` section.
    """
    with warnings.catch_warnings():
        # Pillow's warnings (damaged metadata, sizes near its own limit) say nothing that the problems do not.
        warnings.simplefilter("ignore")
        content, faults = _read(sample.file, root, "image")
        if content is None:
            return Loaded(faults)
        try:
            picture = read_picture(sample.file, max_pixels=settings.max_pixels, content=content)
        except ImageError as error:
            return Loaded([problem(_image_code(error), sample.file, _reason(error, sample.file))])
        seen = _see(picture, content, settings.image_size)
        return _with_labels(sample, root, settings, seen=seen, problems=_look_over(seen, sample.file, settings))


def _see(picture: Picture, content: bytes, image_size: int) -> _Seen:
    """Bring a picture to the packed size and to its look."""
    packed = resize_image(picture.image, image_size)
    return _Seen(picture, np.asarray(packed), make_look(picture.image, packed), content)


def _with_labels(
    sample: Sample,
    root: Path,
    settings: DataSettings,
    *,
    seen: "_Seen",
    problems: list[Problem],
) -> Loaded:
    """The sample with its labels; `problems` are the image's own."""
    picture = seen.picture
    pan: MaskArray | None = None
    boxes: PlacedBoxes | None = None
    faults: list[Problem] = []
    labels: tuple[object, ...] = (sample.label,)
    if sample.mask:
        pan, faults = _load_mask(sample, picture, root, settings.max_pixels)
    elif sample.outlines is not None:
        pan, faults = _draw_mask(sample.outlines, picture, sample.file)
    elif sample.boxes is not None:
        boxes, faults = place_boxes(sample.boxes, picture, sample.file, zero_area=settings.zero_area_boxes)
        labels = (len(boxes.labels),)
    if pan is not None:
        labels = (sample.mask, round(np.count_nonzero(pan) / pan.size, 6))
    problems = [*problems, *faults]
    if any(found.severity == "error" for found in problems):
        return Loaded(problems)
    drawn = sample.outlines is not None and not sample.mask
    return Loaded(
        problems,
        image=seen.packed,
        look=seen.look,
        index=(*_index_row(sample, seen), *labels),
        mask=None if pan is None else _resize_mask(pan, settings.image_size),
        drawn=drawn,
        full_mask=pan if drawn else None,
        boxes=boxes,
    )


def _read(file: str, root: Path, kind: Kind) -> tuple[bytes | None, list[Problem]]:
    """A file's bytes, or why they cannot be had."""
    # Strings, for pathlib takes as long over a path as the system over the file.
    folder, name = posixpath.split(file)
    path = os.path.join(root, file)  # noqa: PTH118 -- as above
    try:
        # A file that is no link lies where its folder does, which is asked once for all files of a folder.
        plain = stat.S_ISREG(os.lstat(path).st_mode) and name != ".."
        if _folder_leaves(folder, str(root)) if plain else leaves_root(root / file, root):
            return None, [problem("link_escapes", file, OUTSIDE)]
        if not plain and not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116 -- as above
            # Reading a pipe or a device may never end.
            return None, [problem(f"{kind}_undecodable", file, "is not a file")]
        with open(path, "rb", buffering=0) as stream:  # noqa: PTH123 -- as above
            return stream.readall(), []
    except PermissionError:
        return None, [problem("not_permitted", file, "may not be read")]
    except OSError as error:
        reason = error.strerror or type(error).__name__
        if is_link(root / file):
            return None, [problem("link_broken", file, f"is a link that leads nowhere: {reason}")]
        missing = isinstance(error, FileNotFoundError)
        return None, [problem(f"{kind}_missing" if missing else f"{kind}_undecodable", file, reason)]


@functools.lru_cache(maxsize=256)
def _folder_leaves(folder: str, root: str) -> bool:
    return leaves_root(Path(root, folder), Path(root))


def _image_code(error: ImageError) -> str:
    match error:
        case ImageEmptyError():
            return "image_empty"
        case ImageTruncatedError():
            return "image_truncated"
        case ImageTooLargeError():
            return "image_too_large"
        case _:
            return "image_undecodable"


def _look_over(seen: _Seen, file: str, settings: DataSettings) -> list[Problem]:
    """What is odd about a picture that can be decoded."""
    picture, content, min_side = seen.picture, seen.content, settings.min_side
    width, height = picture.size
    suffix = posixpath.splitext(file)[1].lower()
    problems: list[Problem] = []
    if picture.format == "JPEG" and content.endswith(bytes(_ZEROS)) and ends_early(content):
        zeros = len(content) - len(content.rstrip(b"\0"))
        # Pillow takes the zeros for a grey rest of the picture.
        problems.append(problem("image_truncated", file, f"its last {zeros} bytes are zero, and its end is missing"))
    if suffix not in _SUFFIXES.get(picture.format, ()):
        problems.append(problem("extension_wrong", file, f"holds a picture in the format {picture.format}"))
    if picture.frames > 1:
        problems.append(problem("image_animated", file, f"holds {picture.frames} pictures"))
    if min(width, height) < min_side:
        problems.append(problem("image_tiny", file, f"is {width}x{height} pixels, less than {min_side} on one side"))
    spread = _spread(seen.look)
    if spread < PLAIN:
        problems.append(problem("image_blank", file, f"is all but one shade: its grey levels vary by {spread:.1f}"))
    if picture.orientation != 1:
        problems.append(problem("exif_rotated", file, f"was turned by its EXIF orientation {picture.orientation}"))
    if picture.mode not in _PLAIN_MODES:
        problems.append(problem("mode_converted", file, f"is {picture.mode}; {_conversion(picture.mode)}"))
    return problems


def _spread(look: npt.NDArray[np.uint8]) -> float:
    """The standard deviation of the grey levels; the sums are whole numbers, which float64 holds exactly."""
    levels = look.ravel().astype(np.float64)
    return math.sqrt(int(levels @ levels) * levels.size - int(levels.sum()) ** 2) / levels.size


def _conversion(mode: str) -> str:
    """What `image_to_rgb` does to a mode."""
    if mode.startswith(("RGBA", "LA", "PA", "La", "RGBa")) or mode.endswith("transparency"):
        return "transparency was laid on white"
    if mode == "I" or ";16" in mode:
        return "the high byte was kept"
    if mode == "F":
        return "its values were brought to 0..255"
    return "its colours were converted to RGB"


def _load_mask(sample: Sample, picture: Picture, root: Path, max_pixels: int) -> tuple[MaskArray | None, list[Problem]]:
    """The mask of a file, (H, W) uint8 0 or 1, as upright as its image."""
    content, faults = _read(sample.mask, root, "mask")
    if content is None:
        return None, faults
    try:
        mask = read_mask(
            sample.mask,
            stored_size=picture.stored_size,
            orientation=picture.orientation,
            max_pixels=max_pixels,
            content=content,
        )
    except MaskSizeError as error:
        return None, [problem("mask_size", sample.mask, str(error))]
    except ImageError as error:
        # Only a mask of another size than its image, which was small enough, can be too large.
        code = "mask_size" if isinstance(error, ImageTooLargeError) else "mask_undecodable"
        return None, [problem(code, sample.mask, _reason(error, sample.mask))]
    return mask.pan, [*_as_drawn(mask, sample), *([] if mask.unseen else _as_marked(mask.pan, sample.mask))]


def _as_drawn(mask: Mask, sample: Sample) -> list[Problem]:
    """What is odd about a mask's file."""
    problems: list[Problem] = []
    if mask.turned:
        problems.append(problem("mask_rotated", sample.mask, f"was turned with its image {sample.file}"))
    if mask.unseen:
        reason = "marks no pan: what it draws is black or less than half opaque; a pan is to be opaque and white"
        problems.append(problem("mask_empty", sample.mask, reason))
    if mask.between > 0:
        share = f"{mask.between:.1%} of the pixels are neither background nor the brightest value"
        problems.append(problem("mask_not_binary", sample.mask, share))
    return problems


def _as_marked(pan: MaskArray, file: str) -> list[Problem]:
    """What is odd about what a mask marks."""
    marked = np.count_nonzero(pan)
    if marked == 0:
        return [problem("mask_empty", file, "marks no pan")]
    if marked == pan.size:
        return [problem("mask_full", file, "marks the whole picture as pan")]
    if looks_inverted(pan):
        share = f"marks {pan.mean():.0%} of the picture, its border included, but not the middle"
        return [problem("mask_inverted", file, share)]
    return []


def _draw_mask(outlines: OutlineLabels, picture: Picture, file: str) -> tuple[MaskArray | None, list[Problem]]:
    """The mask of annotated outlines, (H, W) uint8 0 or 1."""
    pan, faults = draw_mask(outlines, picture, file)
    return pan, faults if pan is None else [*faults, *_as_marked(pan, file)]


def _resize_mask(pan: MaskArray, side: int) -> MaskArray:
    """(H, W) 0/1 to (side, side) 0/1, nearest neighbour."""
    return np.asarray(Image.fromarray(pan).resize((side, side), Image.Resampling.NEAREST))


def _index_row(sample: Sample, seen: _Seen) -> tuple[object, ...]:
    """The values of INDEX_COLUMNS."""
    size = seen.picture.size
    photo, roboflow = photo_name(sample.name)
    capture = capture_time(seen.picture.exif, sample.name)
    hashes = (file_hash(seen.content), pixel_hash(seen.packed, size))
    taken = "" if capture.taken is None else capture.taken
    return (sample.file, *size, *hashes, photo, int(roboflow), sample.split, taken, capture.camera)


def _reason(error: ImageError, name: str) -> str:
    """The message without the name that the problem states anyway, and without paths of this machine."""
    return str(error).removeprefix(f"{name}: ")
