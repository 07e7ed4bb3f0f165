"""Which images show the same photo, over all three sets: they must never be split apart."""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from panvision.ingest.fingerprint import NO_HASH
from panvision.ingest.packed import Task

# Hashes compared at once; 4096 × 4096 distances are 16 MB.
_BLOCK = 4096


@dataclass(frozen=True)
class Entry:
    """One packed image as the split sees it.

    Attributes:
        task, file: which image.
        photo: name of the photo it was made from; only with `roboflow` does it mean anything across files.
        roboflow: the name comes from a Roboflow export.
        sha256: hash of the file's bytes, by which a photo is known wherever it lies.
        pixels: hash of the decoded pixels.
        phash: perceptual hash, 16 hex digits.
        split: the user's own split, or "".
        traits: what the split should keep in proportion: class names, `pan`, or "" for a negative.
        taken: when it was taken, in seconds of the camera's own clock; None: unknown.
        camera: what tells one camera from another, as far as file and name say; "": nothing.
    """

    task: Task
    file: str
    photo: str
    roboflow: bool
    sha256: str
    pixels: str
    phash: str
    split: str
    traits: tuple[str, ...]
    taken: float | None = None
    camera: str = ""


def join_groups(entries: Sequence[Entry], near_duplicate_bits: int) -> list[str]:
    """The group of each entry, named by its first member's `task/file`.

    Two images are of one group if Roboflow made both from one photo, if their pixels are equal, if their perceptual
    hashes differ in at most `near_duplicate_bits` bits, or if a chain of such images links them. Very plain pictures
    have no perceptual hash and are linked by pixels and names only.
    """
    links = _Links(len(entries))
    for rows in _same(entries):
        links.join(rows)
    hashed = [row for row, entry in enumerate(entries) if entry.phash != NO_HASH]
    hashes = np.array([int(entries[row].phash, 16) for row in hashed], np.uint64)
    unique, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    for position, number in enumerate(inverse):
        links.join([hashed[first[number]], hashed[position]])
    for left, right in near_pairs(unique, near_duplicate_bits):
        links.join([hashed[first[left]], hashed[first[right]]])
    names: dict[int, str] = {}
    for row, entry in enumerate(entries):
        root = links.root(row)
        names[root] = min(names.get(root, _name(entry)), _name(entry))
    return [names[links.root(row)] for row in range(len(entries))]


def near_pairs(hashes: npt.NDArray[np.uint64], bits: int) -> Iterator[tuple[int, int]]:
    """Every pair of distinct 64-bit hashes that differ in at most `bits` bits.

    Two hashes that differ in `bits` bits agree on at least one of `bits + 1` bands of their bits (pigeonhole), so
    only hashes that share a band are compared (Norouzi et al. 2012, multi-index hashing).
    """
    if bits == 0:
        return
    edges = np.linspace(0, 64, bits + 2).astype(int)
    for low, high in pairwise(edges):
        band = (hashes >> np.uint64(low)) & np.uint64((1 << int(high - low)) - 1)
        order = np.argsort(band, kind="stable")
        starts = np.flatnonzero(np.diff(band[order], prepend=band[order][:1] + np.uint64(1)))
        for members in np.split(order, starts[1:]) if len(starts) else []:
            yield from _close(hashes, members, bits)


def _close(hashes: npt.NDArray[np.uint64], members: npt.NDArray[np.int64], bits: int) -> Iterator[tuple[int, int]]:
    """Pairs within `bits` among some of the hashes, block against block."""
    for top in range(0, len(members), _BLOCK):
        rows = members[top : top + _BLOCK]
        for side in range(top, len(members), _BLOCK):
            columns = members[side : side + _BLOCK]
            distance = np.bitwise_count(hashes[rows][:, None] ^ hashes[columns][None])
            for left, right in np.argwhere(distance <= bits):
                if rows[left] < columns[right]:
                    yield int(rows[left]), int(columns[right])


class _Links:
    """Disjoint sets of row numbers (union-find with path halving)."""

    def __init__(self, count: int) -> None:
        self._parents = list(range(count))

    def root(self, row: int) -> int:
        parents = self._parents
        while parents[row] != row:
            parents[row] = parents[parents[row]]
            row = parents[row]
        return row

    def join(self, rows: Sequence[int]) -> None:
        first = self.root(rows[0])
        for row in rows[1:]:
            self._parents[self.root(row)] = first


def _same(entries: Sequence[Entry]) -> Iterable[list[int]]:
    """Rows that share a Roboflow photo or their pixels."""
    rows: dict[Hashable, list[int]] = defaultdict(list)
    for row, entry in enumerate(entries):
        rows["pixels", entry.pixels].append(row)
        if entry.roboflow:
            rows["photo", entry.photo].append(row)
    return rows.values()


def _name(entry: Entry) -> str:
    return f"{entry.task}/{entry.file}"
