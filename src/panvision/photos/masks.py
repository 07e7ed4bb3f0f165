"""Masks by one rule, for the packed copy and for evaluation at the image's own size."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from panvision.photos.orientation import MaskArray, turn_mask
from panvision.photos.pixels import ImageTooLargeError, decode_errors, exif_orientation, open_image

Values = npt.NDArray[Any]

# Values up to this are class numbers; brighter masks are grey or colour images.
_LAST_CLASS_NUMBER = 31
# A flat mask has at most this many values, the darkest of them (but zero) an eighth of the brightest or more.
_FLAT_VALUES = 4
_FLAT_RATIO = 8
# A palette image with more colours in use is a graded image that was reduced to a palette.
_PALETTE_CLASSES = 32

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
        between: fraction of pixels that are neither zero nor the brightest value, 0 to 1.
        unseen: something is drawn with transparency, but nothing counts as pan.
    """

    pan: MaskArray
    turned: bool
    between: float
    unseen: bool


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
        return binarise(_channels(path, 2**31))[0]
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

    Raises:
        ImageError: the mask cannot be decoded.
        MaskSizeError: it fits neither way.
    """
    channels = _channels(path, max_pixels, content)
    pan, between = binarise(channels)
    unseen = not pan.any() and _draws_with_alpha(channels)
    size = (pan.shape[1], pan.shape[0])
    upright = stored_size[::-1] if orientation in (5, 6, 7, 8) else stored_size
    if size == upright:
        return Mask(pan, turned=False, between=between, unseen=unseen)
    if size == stored_size:
        return Mask(turn_mask(pan, orientation), turned=True, between=between, unseen=unseen)
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
    In a flat mask (class numbers up to 31, or at most four values none of which is darker than an eighth of the
    brightest) everything else is pan, whatever its class or colour. In a graded one (JPEG, anti-aliasing) pixels of at
    least half of the brightest value are pan.

    Args:
        channels: (H, W) or (H, W, C) grey, grey + alpha, RGB or RGBA, of any number type.

    Returns:
        (H, W) uint8 0 or 1, and the fraction of pixels that are neither zero nor the brightest value.
    """
    values = channels if channels.ndim == 2 else _brightest(channels)
    distinct = _distinct(values)
    top = distinct[-1]
    if top <= 0:
        return np.zeros(values.shape, np.uint8), 0.0
    numbers = top <= _LAST_CLASS_NUMBER and bool(np.all(distinct == np.floor(distinct)))
    rising = distinct[distinct > 0]
    flat = len(distinct) <= _FLAT_VALUES and float(rising[0]) * _FLAT_RATIO >= float(top)
    pan = values > 0 if numbers or flat else values.astype(np.float64) * 2 >= float(top)
    between = 0.0 if len(rising) == 1 else float(np.count_nonzero((values > 0) & (values < top))) / values.size
    return pan.view(np.uint8), between


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


def _channels(path: str | Path, max_pixels: int, content: bytes | None = None) -> Values:
    """Return a mask file's values, unturned, with colours instead of palette indexes."""
    if content is None:
        with decode_errors(str(path)):
            content = Path(path).read_bytes()
    with open_image(content, name=str(path)) as image:
        if image.width * image.height > max_pixels:
            raise ImageTooLargeError(f"{path}: {image.width}x{image.height} is more than {max_pixels} pixels")
        if image.mode in ("P", "PA"):
            return _palette_values(image)
        if image.mode in ("1", "L", "RGB") and "transparency" in image.info:
            return np.asarray(image.convert("RGBA"))
        if image.mode == "1":
            return np.asarray(image).astype(np.uint8)
        if image.mode in ("L", "LA", "RGB", "RGBA"):
            return np.asarray(image)
        if image.mode == "F" or image.mode.startswith("I"):
            return np.nan_to_num(np.asarray(image))
        return np.asarray(image.convert("RGB"))


def _palette_values(image: Image.Image) -> Values:
    """Return a palette mask's values: black is background, or index 0 if none of the used colours is black."""
    if "transparency" in image.info or image.mode == "PA":
        return np.asarray(image.convert("RGBA"))
    indexes = np.asarray(image)
    colours = np.asarray(image.convert("RGB"))
    if np.count_nonzero(np.bincount(indexes.ravel())) > _PALETTE_CLASSES:
        return colours
    # Palette colours may be dark (VOC's are): any colour but black counts.
    black = colours.max(axis=2) == 0
    return ((indexes > 0) if not black.any() else ~black).astype(np.uint8)
