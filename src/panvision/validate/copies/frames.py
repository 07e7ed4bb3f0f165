"""Neighbouring frames of a video, by the numbers in their names and their look.

Every tool that takes frames from a video numbers them: `frame_000012`, `wok_mp4-12_jpg.rf.<hash>`, `clip 12 (1080p)`.
Names that differ in one number are a sequence. Photos are numbered as well, so that two images must also look alike.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from panvision.dataset.descriptors import PLAIN, LookStack

if TYPE_CHECKING:
    from panvision.validate.copies.groups import Entry

# Difference of two looks, a root mean square in units of their contrast, up to which neighbours are of one video. 30
# frames of a fixed camera have 0.11 to 0.57 within two seconds, 1,186 photos and 960 rendered images of other scenes
# 0.62 or more where their numbers are next to each other.
_ALIKE = 0.6
# Grey levels that are added to the contrast, so that noise in plain looks does not count.
_NOISE = 4.0
# Numbers in a name that are tried, the last ones; and digits of one.
_MOST_NUMBERS = 4
_NUMBER = re.compile(r"(?<![0-9])[0-9]{1,9}(?![0-9])")
# Roboflow's form of the suffix of the uploaded file.
_SUFFIX = re.compile(r"_(?:jpe?g|png|bmp|webp|tiff?)$", re.IGNORECASE)
_PAIRS_AT_ONCE = 512


class Neighbours(NamedTuple):
    """Two similar images with neighbouring numbers in one sequence: their rows, and how far apart they are."""

    gap: int
    difference: float
    first: int
    second: int


def find_frames(entries: "Sequence[Entry]", looks: LookStack) -> list[Neighbours]:
    """Return neighbouring frames, the closest first.

    Images whose time is known are left out: `split.burst_seconds` is for them.

    Args:
        entries: all images of all datasets.
        looks: the look of each, in the same order.
    """
    pairs = sorted(set(_neighbours(entries)))
    found: list[Neighbours] = []
    for start in range(0, len(pairs), _PAIRS_AT_ONCE):
        block = pairs[start : start + _PAIRS_AT_ONCE]
        differences = _differences(looks, [first for _, first, _ in block], [second for _, _, second in block])
        for (gap, first, second), difference in zip(block, differences, strict=True):
            if difference <= _ALIKE:
                found.append(Neighbours(gap, difference, first, second))
    return sorted(found)


def _neighbours(entries: "Sequence[Entry]") -> Iterator[tuple[int, int, int]]:
    """Yield the difference of the numbers and the rows of images that are next to each other in a sequence.

    A sequence may run through folders (classes, or the user's splits), or there may be one in each.
    """
    sequences: dict[tuple[str, str, str], list[tuple[int, int]]] = defaultdict(list)
    for row, entry in enumerate(entries):
        if entry.taken is not None:
            continue
        stem = _SUFFIX.sub("", entry.photo) if entry.roboflow else entry.photo
        for found in list(_NUMBER.finditer(stem))[-_MOST_NUMBERS:]:
            pattern = f"{stem[: found.start()]}\0{stem[found.end() :]}"
            for folder in ("", str(PurePosixPath(entry.file).parent)):
                sequences[entry.task, folder, pattern].append((int(found[0]), row))
    for members in sequences.values():
        for (number, row), (next_number, next_row) in pairwise(sorted(members)):
            yield next_number - number, min(row, next_row), max(row, next_row)


def _differences(looks: LookStack, first: Sequence[int], second: Sequence[int]) -> list[float]:
    """Return the difference of each pair; infinite where a look is plain."""
    one, other = (looks.take(np.array(rows, np.int64)).astype(np.float32) for rows in (first, second))
    one, other = (values - values.mean(axis=(1, 2), keepdims=True) for values in (one, other))
    contrasts = one.std(axis=(1, 2)), other.std(axis=(1, 2))
    apart = np.sqrt(((one - other) ** 2).mean(axis=(1, 2))) / (0.5 * (contrasts[0] + contrasts[1]) + _NOISE)
    return [float(value) for value in np.where(np.minimum(*contrasts) < PLAIN, np.inf, apart)]
