"""Descriptors of small grey thumbnails ("looks"), by which copies of one photo are recognised.

A look is the image as 64 × 64 grey levels. Its descriptor holds the 63 lowest frequencies of its DCT, as in the
perceptual hash of Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions" (2010), section 3.2.1,
but as numbers instead of bits. The descriptors of all windows of a look, and of its mirror images, follow from a few
products of small matrices, without making the crops and flips.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

SIDE = 64
LENGTH = 63

# Standard deviation in grey levels below which a look cannot be recognised.
PLAIN = 2.0

Looks = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.floating[Any]]

_FREQUENCIES = 8
# Mirroring changes the sign of the odd frequencies of its axis.
_MIRROR = np.where(np.arange(_FREQUENCIES) % 2, -1.0, 1.0).astype(np.float32)
_GAIN = 1.35


@dataclass(frozen=True, slots=True)
class Variant:
    """One change of an image: a window of it, mirrored or transposed, perhaps overexposed.

    Attributes:
        top, left, side: the window as fractions of the image's sides.
        flip_x, flip_y, transpose: changes of the window's content, in this order.
        gain: brightness factor, after which grey levels are cut off at 255.
    """

    top: float = 0.0
    left: float = 0.0
    side: float = 1.0
    flip_x: bool = False
    flip_y: bool = False
    transpose: bool = False
    gain: float = 1.0


def _variants() -> tuple[Variant, ...]:
    whole = [
        Variant(flip_x=flip_x, flip_y=flip_y, transpose=transpose)
        for transpose in (False, True)
        for flip_y in (False, True)
        for flip_x in (False, True)
    ]
    windows = [
        Variant(top, left, side, flip_x, flip_y)
        for side, starts in ((0.95, (0.0, 0.05)), (0.9, (0.0, 0.05, 0.1)))
        for top in starts
        for left in starts
        for flip_y in (False, True)
        for flip_x in (False, True)
    ]
    bright = [Variant(flip_x=flip_x, gain=_GAIN) for flip_x in (False, True)]
    return (*whole, *windows, *bright)


# The first one is the image itself.
VARIANTS = _variants()


def _window_frequencies(start: float, side: float) -> Floats:
    """Return the DCT-II of a window of one axis, (8, 64): integrals of each frequency over the look's pixels."""
    edges = np.clip(np.arange(SIDE + 1) / SIDE, start, start + side)
    within = (edges - start) / side
    number = np.arange(_FREQUENCIES)[:, None]
    integral = np.where(number == 0, within, np.sin(np.pi * number * within) / (np.pi * np.maximum(number, 1)))
    scale = np.where(number == 0, 1.0, np.sqrt(2.0))
    return np.asarray(np.diff(integral, axis=1) * scale, np.float32)


# Every window of one axis: its start and its length.
_PLACES = sorted({(start, variant.side) for variant in VARIANTS for start in (variant.top, variant.left)})
_PLACES.sort(key=lambda place: place != (0.0, 1.0))
_WINDOWS = np.stack([_window_frequencies(*place) for place in _PLACES])  # (places, 8, 64)


def _place(start: float, side: float) -> int:
    return _PLACES.index((start, side))


def _frequencies(grey: Floats) -> Floats:
    """Return the frequencies of every window, vertical ones first, (N, 64, 64) to (N, places, 8, places, 8)."""
    axis = _WINDOWS.reshape(-1, SIDE)  # (places * 8, 64)
    return (axis @ grey @ axis.T).reshape(len(grey), len(_PLACES), _FREQUENCIES, len(_PLACES), _FREQUENCIES)


def _unit(frequencies: Floats) -> Floats:
    """Drop the mean of (..., 8, 8) frequencies and scale the rest, (..., 63), to length 1."""
    vectors = frequencies.reshape(*frequencies.shape[:-2], -1)[..., 1:]
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-6), np.float32)


class LookStack:
    """The looks of several datasets in a row; they stay on disk until they are taken."""

    def __init__(self, parts: Sequence[Looks]) -> None:
        self._parts = parts
        self._starts = np.cumsum([0, *(len(part) for part in parts)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def take(self, rows: npt.NDArray[np.int64]) -> Looks:
        """Return some looks, (M, 64, 64) uint8."""
        found = np.empty((len(rows), SIDE, SIDE), np.uint8)
        owner = np.searchsorted(self._starts, rows, side="right") - 1
        for number, part in enumerate(self._parts):
            own = owner == number
            found[own] = part[rows[own] - self._starts[number]]
        return found


def make_look(picture: Image.Image, packed: Image.Image | None = None) -> npt.NDArray[np.uint8]:
    """Make the look of an RGB image, (64, 64) uint8: each pixel is the mean of its area.

    Args:
        picture: the image at its own size.
        packed: the same, shrunk to the model's square; the look is made from it if it is fine enough.
    """
    fine = packed is not None and 2 * SIDE <= packed.width <= min(picture.size)
    image = packed if packed is not None and fine else picture
    grey = image.convert("L")
    width, height = image.size
    if width % SIDE == 0 and height % SIDE == 0:
        return np.asarray(grey.reduce((width // SIDE, height // SIDE)))
    # Shrink by whole factors first, which is fast, then exactly.
    factor = max(1, min(width, height) // (2 * SIDE))
    return np.asarray((grey.reduce(factor) if factor > 1 else grey).resize((SIDE, SIDE), Image.Resampling.BOX))


def is_plain(looks: Looks) -> npt.NDArray[np.bool_]:
    """Return flags (N,) of looks (N, 64, 64) that cannot be recognised."""
    return np.asarray(looks.astype(np.float32).std(axis=(1, 2)) < PLAIN)


def describe(looks: Looks) -> Floats:
    """Describe unchanged looks, (N, 64, 64) uint8 to (N, 63) float32 of length 1."""
    whole = _WINDOWS[0]  # (8, 64)
    return _unit(whole @ looks.astype(np.float32) @ whole.T)


def describe_variants(looks: Looks) -> Floats:
    """Describe every variant of looks, (N, 64, 64) uint8 to (N, len(VARIANTS), 63) float32 of length 1."""
    normal = _frequencies(looks.astype(np.float32))
    bright = _frequencies(np.minimum(looks * np.float32(_GAIN), 255.0))
    found = np.empty((len(looks), len(VARIANTS), _FREQUENCIES, _FREQUENCIES), np.float32)
    for number, variant in enumerate(VARIANTS):
        source = normal if variant.gain == 1.0 else bright
        content = source[:, _place(variant.top, variant.side), :, _place(variant.left, variant.side), :]
        if variant.flip_x:
            content = content * _MIRROR
        if variant.flip_y:
            content = content * _MIRROR[:, None]
        found[:, number] = content.swapaxes(1, 2) if variant.transpose else content
    return _unit(found)


def show(look: npt.NDArray[np.uint8], variant: Variant) -> Floats:
    """Mirror, transpose and brighten a whole look as a variant says: (64, 64) float32."""
    content = np.minimum(look * np.float32(variant.gain), 255.0)
    content = content[:, ::-1] if variant.flip_x else content
    content = content[::-1] if variant.flip_y else content
    return np.ascontiguousarray(content.T if variant.transpose else content)


def window(variant: Variant) -> tuple[float, float, float]:
    """Return the variant's window in the result of `show`: top, left, side."""
    top = 1.0 - variant.top - variant.side if variant.flip_y else variant.top
    left = 1.0 - variant.left - variant.side if variant.flip_x else variant.left
    return (left, top, variant.side) if variant.transpose else (top, left, variant.side)
