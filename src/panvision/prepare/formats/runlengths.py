"""COCO's run-length masks: checked, decoded, measured and made, with NumPy only.

A mask's pixels are counted column by column: the first count is background, the second foreground, and so on. As
text, each count is its difference from the one two places before, in groups of five bits from the low end, each
written as the character 48 + group, with bit 5 where another group follows (cocoapi, `maskApi.c`, rleFrString).

pycocotools is not used: its decoder trusts the counts, and invalid ones end the process (cocoapi#362, #589). Here they
are checked against the size first. The tests compare the two.
"""

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from panvision.photos.orientation import MaskArray
from panvision.prepare.formats.layout import RunLengths

Integers = npt.NDArray[np.int64]

# More pixels than any image has; below it every product of indexes fits 64 bits.
_MOST_PIXELS = 2**40
# Groups of five bits in one count: enough for _MOST_PIXELS and its sign.
_MOST_GROUPS = 9


class OutlineError(ValueError):
    """An outline that cannot be used; the message says what is wrong with it."""


def check_run_lengths(size: object, counts: object) -> RunLengths:
    """Check a run-length mask: size [height, width], and counts in any form that tools write.

    Counts are compressed text (also as bytes, or as Python prints bytes, `b'...'`), a list of numbers, or such a list
    as text. Whole numbers may be written 3.0 or "3".

    Raises:
        OutlineError: anything else, or counts that do not fill the size, or a mask that marks nothing.
    """
    size, counts = _plain(size), _plain(counts)
    if not (isinstance(size, (list, tuple)) and len(size) == 2 and all(_is_count(side) and side > 0 for side in size)):
        raise OutlineError("its run-length mask has no size [height, width]")
    height, width = size
    if not (isinstance(counts, str) or (isinstance(counts, list) and all(_is_count(count) for count in counts))):
        raise OutlineError("its run-length mask has no counts")
    checked = RunLengths((height, width), counts if isinstance(counts, str) else tuple(counts))
    runs = _runs(checked)
    if height * width > _MOST_PIXELS or min(runs, default=-1) < 0 or sum(runs) != height * width:
        raise OutlineError(f"its run lengths do not make {width}x{height} pixels")
    if not any(runs[1::2]):
        raise OutlineError("its run-length mask marks nothing")
    return checked


def decode_run_lengths(mask: RunLengths, width: int, height: int) -> MaskArray:
    """Return a checked mask as (height, width) uint8 0 or 1, sampled at the nearest pixel if its own size differs."""
    ends = np.cumsum(np.array(_runs(mask), np.int64))
    rows, columns = mask.size
    if (height, width) == mask.size:
        flat = np.repeat(np.arange(len(ends)) % 2, np.diff(ends, prepend=0)).astype(np.uint8)
        return np.ascontiguousarray(flat.reshape(columns, rows).T)
    # Sampled from the runs themselves: the mask's own size may be too large to be unpacked.
    row = _nearest(height, rows)
    column = _nearest(width, columns)
    place = column[None, :] * rows + row[:, None]  # (height, width)
    return (np.searchsorted(ends, place, side="right") % 2).astype(np.uint8)


def run_lengths_bounds(mask: RunLengths) -> tuple[float, float, float, float]:
    """Return the box x1, y1, x2, y2 around a checked mask."""
    ends = np.cumsum(np.array([0, *_runs(mask)], np.int64))
    starts, stops = ends[1:-1:2], ends[2::2]
    used = stops > starts
    starts, stops = starts[used], stops[used] - 1
    height = mask.size[0]
    left, right = starts.min() // height, stops.max() // height + 1
    # A run that continues in the next column reaches the bottom of one and begins at the top of the other.
    whole = bool((starts // height != stops // height).any())
    top, bottom = (0, height) if whole else ((starts % height).min(), (stops % height).max() + 1)
    return float(left), float(top), float(right), float(bottom)


def encode_run_lengths(crop: npt.NDArray[np.bool_], left: int, top: int, size: tuple[int, int]) -> RunLengths:
    """Return the run lengths of a mask that is given as a part of the image.

    Args:
        crop: (h, w) bool.
        left: column of the image at which the crop begins.
        top: row of the image at which the crop begins.
        size: height and width of the image.

    Raises:
        OutlineError: the crop reaches out of the image, or marks nothing.
    """
    height, width = size
    columns, rows = np.nonzero(crop.T)
    if not len(rows):
        raise OutlineError("its mask marks nothing")
    inside = 0 <= left <= width - crop.shape[1] and 0 <= top <= height - crop.shape[0]
    if not inside or height * width > _MOST_PIXELS:
        raise OutlineError(f"its mask reaches out of {width}x{height} pixels")
    flat = (columns + left) * height + rows + top
    breaks = np.flatnonzero(np.diff(flat) != 1)
    starts = flat[np.concatenate([[0], breaks + 1])]
    stops = flat[np.concatenate([breaks, [-1]])] + 1
    edges = np.stack([starts, stops], axis=1).ravel()
    counts = np.diff(np.concatenate([[0], edges, [height * width]]))
    return RunLengths(size, tuple(counts.tolist()))


def _plain(value: object) -> object:
    """Return compressed counts as text, and lists with their whole numbers as such."""
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    if isinstance(value, str):
        printed = re.fullmatch(r"b(['\"])(.*)\1", value, re.DOTALL)
        if printed:
            value = printed[2].replace("\\\\", "\\")
        # No space or comma occurs in compressed text.
        value = re.findall(r"[^\s,\[\]]+", value) if re.search(r"[\s,]", value.strip()) else value.strip()
    if not isinstance(value, (list, tuple)):
        return value
    return [_to_int(each) for each in value]


def _to_int(value: object) -> object:
    """Return 3.0 and "3" as 3, and anything else as it is."""
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,15}(\.0+)?", value):
        return int(value.partition(".")[0])
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST_PIXELS


def _nearest(wanted: int, given: int) -> Integers:
    """Return for each of `wanted` pixels in a row the one of `given` under its centre."""
    return ((np.arange(wanted, dtype=np.int64) * 2 + 1) * given) // (2 * wanted)


def _runs(mask: RunLengths) -> Sequence[int]:
    """Return the counts as numbers; (-1,) for invalid text."""
    if not isinstance(mask.counts, str):
        return mask.counts
    counts: list[int] = []
    value, place = 0, 0
    for character in mask.counts:
        group = ord(character) - 48
        if not 0 <= group < 64 or place >= _MOST_GROUPS:
            return (-1,)
        value |= (group & 31) << (5 * place)
        place += 1
        if group & 32:
            continue
        if group & 16:
            value -= 1 << (5 * place)
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value, place = 0, 0
    return counts if place == 0 else (-1,)
