"""Masks by one rule, both for the packed copy and for evaluation at the image's own size."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from panvision.photos.orientation import MaskArray, turn_mask
from panvision.photos.pixels import ImageTooLargeError, decode_errors, exif_orientation, open_image

Values = npt.NDArray[Any]
Color = tuple[int, ...]

_BACKGROUND = frozenset({"background", "bg", "unlabeled", "unlabelled"})
_IGNORED = frozenset({"ignore", "ignored", "void", "255"})
# The number of pixels that are not to be trained: Pascal VOC's void, -1 in one byte.
IGNORED = 255

# Values up to this are class numbers; brighter masks are grey or colour images.
LAST_CLASS_NUMBER = 31
# A flat mask has at most this many values, the darkest of them (but zero) an eighth of the brightest or more.
_FLAT_VALUES = 4
_FLAT_RATIO = 8
# Labels that a table may name.
_MOST_LABELS = 256
# An image with more colours in use is a graded one.
_FEW_COLOURS = 32

# A mask counts as inverted if this fraction of the image's border is pan …
_INVERTED_BORDER = 0.9
# … and it leaves out the middle: at least this fraction of the image; as much must be marked.
_INVERTED_HOLE = 0.05


class MaskSizeError(ValueError):
    """A mask whose size is neither its image's nor that of the image's file before EXIF rotation."""


class Mask(NamedTuple):
    """A mask as upright as its image.

    Attributes:
        pan: (H, W) uint8 0 or 1.
        turned: it was drawn on the unturned file, and was turned with the image.
        between: fraction of pixels that are neither zero nor the brightest value, 0 to 1; 0 with a table of labels.
        unseen: something is drawn with transparency, but nothing counts as pan.
        labels: the labels in the file but the background's: names with a table, else numbers (`3`) or colours
            (`36,100,50`); () for a graded mask, which has none.
    """

    pan: MaskArray
    turned: bool = False
    between: float = 0.0
    unseen: bool = False
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LabelTable:
    """The meaning of the values or colours in masks of several labels.

    Attributes:
        names: name of each label, by its number or by its colour.
        pan: names of the labels that are pan; None: all but background and what is to be ignored.
    """

    names: Mapping[int | Color, str]
    pan: frozenset[str] | None = None

    def is_pan(self, name: str) -> bool:
        """True if a label is pan."""
        return name in self.pan if self.pan is not None else not is_background(name) and not is_ignored(name)


def is_background(name: str) -> bool:
    """True if a label's name means background, in the spellings of the tools."""
    return name.strip("_ ").lower() in _BACKGROUND


def is_ignored(name: str) -> bool:
    """True if a label's name means pixels that are not to be trained."""
    return name.strip("_ ").lower() in _IGNORED


def load_mask(folder: str | Path, mask_file: str, image_file: str | None = None) -> MaskArray:
    """Read the mask of an image at the image's own size, by the rule of `prepare`.

    Args:
        folder: `<data.root>/segmentation`.
        mask_file: path of the mask below it (`PackedSet.mask_files`).
        image_file: path of the image below it (`PackedSet.files`); without it the mask is not turned, which matters
            only if the image is EXIF-rotated and its mask was drawn on the unrotated file.

    Returns:
        (H, W) uint8, 1 is pan.

    Raises:
        ImageError: the mask or the image cannot be decoded.
        MaskSizeError: mask and image do not fit.
    """
    path = Path(folder) / mask_file
    if image_file is None:
        return _understand(path, 2**31).pan
    with decode_errors(str(Path(folder) / image_file)), Image.open(Path(folder) / image_file) as image:
        size, orientation = image.size, exif_orientation(image)
    return read_mask(path, stored_size=size, orientation=orientation).pan


def read_mask(
    path: str | Path,
    *,
    stored_size: tuple[int, int],
    orientation: int,
    max_pixels: int = 2**31,
    content: bytes | None = None,
    table: LabelTable | None = None,
) -> Mask:
    """Decode a mask and turn it upright.

    A mask's own EXIF orientation is ignored. A mask of its image's upright size is not turned; one of the size of the
    image's file before EXIF rotation is turned with the image.

    Args:
        path: the mask, and its name in messages.
        stored_size: width and height of the image's file, before EXIF rotation.
        orientation: the image's EXIF orientation, 1 to 8.
        max_pixels: larger masks are refused before they are decoded.
        content: the mask file's bytes, if they were read already.
        table: the meaning of its values; without it the rule of `binarise` holds.

    Raises:
        ImageError: the mask cannot be decoded.
        MaskSizeError: it fits neither way.
    """
    mask = _understand(path, max_pixels, content, table)
    size = (mask.pan.shape[1], mask.pan.shape[0])
    upright = stored_size[::-1] if orientation in (5, 6, 7, 8) else stored_size
    if size == upright:
        return mask
    if size == stored_size:
        return mask._replace(pan=turn_mask(mask.pan, orientation), turned=True)
    raise MaskSizeError(f"the mask is {size[0]}x{size[1]}, the image {upright[0]}x{upright[1]}")


def looks_inverted(pan: MaskArray) -> bool:
    """True if an (H, W) mask of 0 and 1 seems to mark everything but the pan.

    Nine tenths of the image's border are marked then, and what is left out, a twentieth of the image or more, is at
    least as dense in the middle (the inner half of width and height) as in the whole. A close-up of a pan leaves out
    the corners, not the middle.
    """
    # Most masks leave the border out, which is fast to check.
    border = np.concatenate([pan[0], pan[-1], pan[1:-1, 0], pan[1:-1, -1]])
    if _left_out(border) > 1 - _INVERTED_BORDER:
        return False
    height, width = pan.shape
    middle = pan[height // 4 : height - height // 4, width // 4 : width - width // 4]
    share = _left_out(pan)
    return _left_out(middle) >= share and _INVERTED_HOLE <= share <= 1 - _INVERTED_HOLE


def pack_mask(pan: MaskArray, side: int) -> MaskArray:
    """Return the share of each cell of a square that is pan, as the square is stretched over the image.

    Area coverage shifts no edge and keeps its place between pixels; the nearest neighbour moves it by up to half a
    pixel. All sums are whole numbers that floats hold exactly, so the result is the same on every machine.

    Args:
        pan: (H, W) uint8 0 or 1, at most 2^24 pixels wide.
        side: S, cells per side; may be larger than the image's.

    Returns:
        (S, S) uint8, 0 to 255 for all of the cell; 128 or more where at least half of the cell is pan.
    """
    height, width = pan.shape
    rows = pan.astype(np.float32) @ _overlaps(width, side).T.astype(np.float32)  # (H, S), at most `width`
    shares = _overlaps(height, side).astype(np.float64) @ rows / (height * width)  # (S, S)
    return np.floor(255 * shares + 0.5).astype(np.uint8)


def _overlaps(length: int, cells: int) -> npt.NDArray[np.int64]:
    """Return the overlap of each of `cells` equal cells with each of `length` pixels, (cells, length).

    The unit is a pixel divided by `cells`, so that a cell is `length` long.
    """
    pixels, starts = np.arange(length) * cells, np.arange(cells)[:, None] * length
    return np.maximum(np.minimum(starts + length, pixels + cells) - np.maximum(starts, pixels), 0)


def _left_out(pan: npt.NDArray[np.uint8]) -> float:
    """Return the fraction of some pixels that are not marked."""
    return (pan.size - np.count_nonzero(pan)) / pan.size


def binarise(channels: Values) -> tuple[MaskArray, float]:
    """Return the pixels that are pan, from a mask's decoded values.

    The rule: a pixel's value is its brightest channel, zero where it is less than half opaque; zero is background.
    In a flat mask everything else is pan, of any class or colour. Flat are class numbers up to 31, also with 255
    for pixels to be ignored, which are not pan; up to 32 colours of several hues; and at most four values none of which
    is darker than an eighth of the brightest. In a graded mask (JPEG, anti-aliasing) pixels of at least half of the
    brightest value are pan.

    Args:
        channels: (H, W) or (H, W, C) grey, grey + alpha, RGB or RGBA, of any number type.

    Returns:
        (H, W) uint8 0 or 1, and the fraction of pixels that are neither zero nor the brightest value.
    """
    mask = _decide(channels)
    return mask.pan, mask.between


def _decide(channels: Values) -> Mask:
    """Return the mask of decoded values, by the rule of `binarise`."""
    values = channels if channels.ndim == 2 else _brightest(channels)
    distinct = _distinct(values)
    top = distinct[-1]
    if top <= 0:
        return Mask(np.zeros(values.shape, np.uint8), unseen=_draws_with_alpha(channels))
    rising = distinct[distinct > 0]
    between = 0.0 if len(rising) == 1 else float(np.count_nonzero((values > 0) & (values < top))) / values.size
    if hues := _hues(channels):
        return Mask((values > 0).view(np.uint8), between=between, labels=hues)
    whole = bool(np.all(rising == np.floor(rising)))
    void = len(rising) > 1 and top == IGNORED and rising[-2] <= LAST_CLASS_NUMBER
    numbers = whole and (void or top <= LAST_CLASS_NUMBER)
    flat = len(distinct) <= _FLAT_VALUES and float(rising[0]) * _FLAT_RATIO >= float(top)
    pan: Values = values > 0 if numbers or flat else values.astype(np.float64) * 2 >= float(top)
    if numbers and void:
        pan &= values < top
    labels = tuple(f"{value:g}" for value in rising.tolist()) if numbers or flat else ()
    return Mask(pan.view(np.uint8), between=between, labels=labels)


def _hues(channels: Values) -> tuple[str, ...]:
    """Return the colours of a mask (H, W, 3 or 4) that has a few, of more than one hue; () otherwise.

    Shades of one colour are its anti-aliased edge.
    """
    if channels.ndim == 2 or channels.shape[2] < 3 or channels.dtype != np.uint8:
        return ()
    rgb = channels[:, :, :3]
    if (rgb[:, :, 0] == rgb[:, :, 1]).all() and (rgb[:, :, 0] == rgb[:, :, 2]).all():
        return ()
    if channels.shape[2] == 4:
        rgb = np.where(channels[:, :, 3:] >= 128, rgb, np.uint8(0))
    found = Image.fromarray(np.ascontiguousarray(rgb)).getcolors(_FEW_COLOURS)
    colours = np.array([colour for _, colour in found or ()], np.float64).reshape(-1, 3)
    colours = colours[colours.any(axis=1)]
    hues = colours / colours.max(axis=1, keepdims=True)
    # Rounding moves the hue of a dark shade by up to one level.
    same = np.abs(hues - hues[:1]) <= 1.5 / colours.max(axis=1, keepdims=True)
    if len(colours) < 2 or same.all():
        return ()
    return tuple(_text(tuple(int(value) for value in colour)) for colour in sorted(colours.tolist()))


def _text(colour: tuple[int, ...]) -> str:
    return ",".join(map(str, colour))


def _distinct(values: Values) -> Values:
    """Return the values that occur, rising; for bytes without sorting all pixels, which takes as long as decoding."""
    if values.dtype != np.uint8:
        return np.unique(values)
    low, high = values.min(), values.max()
    ends = [low, high] if low < high else [low]
    if sum(np.count_nonzero(values == end) for end in ends) == values.size:
        return np.array(ends)
    return np.unique(values)


def _brightest(channels: Values) -> Values:
    """Return the brightest colour channel (H, W), zero where the alpha of (H, W, 2 or 4) is below half."""
    if channels.shape[2] in (2, 4):
        opaque = channels[:, :, -1].astype(np.float64) * 2 >= 255
        return np.where(opaque, channels[:, :, :-1].max(axis=2), 0)
    return np.asarray(channels.max(axis=2))


def _draws_with_alpha(channels: Values) -> bool:
    """True if a mask (H, W) or (H, W, C) has an alpha channel and is not uniform."""
    return channels.ndim == 3 and channels.shape[2] in (2, 4) and bool((channels != channels[0, 0]).any())


def _understand(
    path: str | Path, max_pixels: int, content: bytes | None = None, table: LabelTable | None = None
) -> Mask:
    """Decode a mask's file, unturned."""
    if content is None:
        with decode_errors(str(path)):
            content = Path(path).read_bytes()
    with open_image(content, name=str(path)) as image:
        if image.width * image.height > max_pixels:
            raise ImageTooLargeError(f"{path}: {image.width}x{image.height} is more than {max_pixels} pixels")
        if table is not None:
            return _by_table(image, table)
        if image.mode == "P" and "transparency" not in image.info:
            return _palette_mask(image)
        return _decide(_channels(image))


def _channels(image: Image.Image) -> Values:
    """Return an opened mask's values, with colours instead of palette indexes."""
    if image.mode == "PA" or (image.mode in ("1", "L", "P", "RGB") and "transparency" in image.info):
        return np.asarray(image.convert("RGBA"))
    if image.mode == "1":
        return np.asarray(image).astype(np.uint8)
    if image.mode in ("L", "LA", "RGB", "RGBA"):
        return np.asarray(image)
    if image.mode == "F" or image.mode.startswith("I"):
        return np.nan_to_num(np.asarray(image))
    return np.asarray(image.convert("RGB"))


def _palette_mask(image: Image.Image) -> Mask:
    """Return the mask of a palette image: black is background, or index 0 if none of the used colours is black."""
    indexes = np.asarray(image)
    colours = np.asarray(image.convert("RGB"))
    used = np.flatnonzero(np.bincount(indexes.ravel()))
    if len(used) > _FEW_COLOURS:
        return _decide(colours)
    # Palette colours may be dark (VOC's are): any colour but black counts.
    black = colours.max(axis=2) == 0
    pan = ~black if black.any() else indexes > 0
    labels = np.flatnonzero(np.bincount(indexes[pan]))
    if len(labels) > 1 and labels[-1] == IGNORED and labels[-2] <= LAST_CLASS_NUMBER:
        pan &= indexes != IGNORED
    return Mask(pan.astype(np.uint8), labels=tuple(map(str, labels.tolist())))


def _by_table(image: Image.Image, table: LabelTable) -> Mask:
    """Return the mask of a file whose labels are named; a value without a name is called by its number or colour."""
    if image.mode in ("1", "L", "P") or image.mode.startswith("I"):
        codes = np.asarray(image).astype(np.int64)
        palette = dict(enumerate(np.array(image.getpalette("RGB") or []).reshape(-1, 3).tolist()))
        keys = {code: (code, tuple(palette.get(code, (code,) * 3))) for code in np.unique(codes).tolist()}
    else:
        pixels = np.asarray(image.convert("RGBA")).astype(np.int64)
        codes = np.where(pixels[:, :, 3] >= 128, pixels[:, :, 0] << 16 | pixels[:, :, 1] << 8 | pixels[:, :, 2], 0)
        parts = {code: (code >> 16, code >> 8 & 255, code & 255) for code in np.unique(codes).tolist()}
        keys = {code: (rgb[0] if len(set(rgb)) == 1 else -1, rgb) for code, rgb in parts.items()}
    if len(keys) > _MOST_LABELS:
        # A JPEG file, or an image: no table names its colours.
        return Mask(np.zeros(codes.shape, np.uint8), labels=(f"more than {_MOST_LABELS} values",))
    names = {code: _name(number, colour, table) for code, (number, colour) in keys.items()}
    pan = np.isin(codes, [code for code, name in names.items() if name and table.is_pan(name)])
    return Mask(pan.astype(np.uint8), labels=tuple(sorted({name for name in names.values() if name})))


def _name(number: int, colour: tuple[int, ...], table: LabelTable) -> str:
    """Return the name of a value; "" for background."""
    for key in (number, colour):
        if (name := table.names.get(key)) is not None:
            return "" if is_background(name) and (table.pan is None or name not in table.pan) else str(name)
    if number == 0 or not any(colour):
        return ""
    return _text(colour) if number < 0 else str(number)
