"""Groups of images that show the same photo, over all datasets: they must never be split apart."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np

from panvision.core.cores import in_threads
from panvision.core.tasks import Dataset
from panvision.dataset.descriptors import LookStack, is_plain
from panvision.validate.copies.candidates import Integers
from panvision.validate.copies.frames import find_frames
from panvision.validate.copies.search import find_copies
from panvision.validate.settings import SplitSettings

# Reasons to join two images: equal pixels, one photo by Roboflow's names, copies by their look, one burst, neighbouring
# frames of a video.
Reason = Literal["pixels", "name", "look", "burst", "frames"]

# Looks that are in memory at a time.
_AT_ONCE = 256
# Frames of one video are at most this share of their dataset together, so that train, val and test get some.
_MOST_FRAMES = 1 / 3


class Entry(NamedTuple):
    """One packed image as the split sees it.

    Attributes:
        task, file: the image.
        photo: name of the photo it was made from; across files it means something only with `roboflow`.
        roboflow: the name comes from a Roboflow export.
        sha256: hash of the file's bytes, which identifies a photo in any folder.
        pixels: hash of the decoded pixels.
        split: the user's own split, or "".
        traits: what the split keeps in proportion: class names, `pan`, or "" for a negative.
        taken: when it was taken, in seconds of the camera's own clock; None: unknown.
        camera: identifies the camera, as far as file and name say; "": unknown.
    """

    task: Dataset
    file: str
    photo: str
    roboflow: bool
    sha256: str
    pixels: str
    split: str
    traits: tuple[str, ...]
    taken: float | None = None
    camera: str = ""

    @property
    def name(self) -> str:
        """Dataset and file as one path."""
        return f"{self.task}/{self.file}"


@dataclass(frozen=True, slots=True)
class Link:
    """Two entries (by position) of one group, and the reason."""

    first: int
    second: int
    reason: Reason


@dataclass(frozen=True, slots=True)
class Groups:
    """The group of each entry, named by its first member's `task/file`, and the links that made the groups.

    Attributes:
        torn: neighbouring frames of a video that was too large for one group, by position.
    """

    names: list[str]
    links: list[Link]
    torn: list[tuple[int, int]]


def join_groups(entries: Sequence[Entry], looks: LookStack, settings: SplitSettings) -> Groups:
    """Join the images that must not be split apart.

    Two images are of one group if their pixels are equal, if Roboflow made both from one photo, if one camera took
    them within `settings.burst_seconds`, if they are neighbouring frames of a video, if their looks are copies up to
    `settings.copy_difference`, or if a chain of such images links them. Very plain images are linked by pixels, names
    and time only.

    Args:
        entries: all images of all datasets.
        looks: the look of each, in the same order.
        settings: limits of the links.
    """
    links = _Links(len(entries))
    for rows in _grouped((entry.pixels, row) for row, entry in enumerate(entries)):
        links.join(rows, "pixels")
    for rows in _grouped((entry.photo, row) for row, entry in enumerate(entries) if entry.roboflow):
        links.join(rows, "name")
    for pair in _bursts(entries, settings.burst_seconds):
        links.join(pair, "burst")
    torn = _join_frames(entries, looks, links) if settings.burst_seconds > 0 else []
    if settings.copy_difference > 0:
        seen = _recognisable(entries, looks)
        for pair in find_copies(looks, seen, settings.copy_difference, joined=links.are_joined):
            links.join(pair, "look")
    names: dict[int, str] = {}
    for row, entry in enumerate(entries):
        root = links.root(row)
        names[root] = min(names.get(root, entry.name), entry.name)
    return Groups([names[links.root(row)] for row in range(len(entries))], links.made, torn)


def _join_frames(entries: Sequence[Entry], looks: LookStack, links: "_Links") -> list[tuple[int, int]]:
    """Join neighbouring frames, the closest first, and return those that would make a group too large."""
    sizes = Counter(entry.task for entry in entries)
    torn = []
    for _, _, first, second in find_frames(entries, looks):
        joined = links.are_joined(first, second) or links.size(first) + links.size(second) <= max(
            2, int(_MOST_FRAMES * sizes[entries[first].task])
        )
        if joined:
            links.join((first, second), "frames")
        else:
            torn.append((first, second))
    return torn


class _Links:
    """Disjoint sets of row numbers (union-find with path halving), and the links that joined them."""

    def __init__(self, count: int) -> None:
        self._parents = list(range(count))
        self._sizes = [1] * count
        self.made: list[Link] = []

    def root(self, row: int) -> int:
        parents = self._parents
        while parents[row] != row:
            parents[row] = parents[parents[row]]
            row = parents[row]
        return row

    def size(self, row: int) -> int:
        return self._sizes[self.root(row)]

    def are_joined(self, first: int, second: int) -> bool:
        return self.root(first) == self.root(second)

    def join(self, rows: Sequence[int], reason: Reason) -> None:
        for first, second in pairwise(rows):
            if not self.are_joined(first, second):
                root, other = self.root(first), self.root(second)
                self._parents[other] = root
                self._sizes[root] += self._sizes[other]
                self.made.append(Link(first, second, reason))


def _grouped(keyed: Iterable[tuple[str, int]]) -> Iterable[list[int]]:
    rows: dict[str, list[int]] = defaultdict(list)
    for key, row in keyed:
        rows[key].append(row)
    return rows.values()


def _bursts(entries: Sequence[Entry], seconds: float) -> Iterator[tuple[int, int]]:
    """Yield pairs of one camera's consecutive images, at most `seconds` apart; 0 seconds: none."""
    timed = sorted((entry.camera, entry.taken, row) for row, entry in enumerate(entries) if entry.taken is not None)
    for (camera, taken, row), (next_camera, next_taken, next_row) in pairwise(timed):
        if seconds > 0 and camera == next_camera and next_taken - taken <= seconds:
            yield row, next_row


def _recognisable(entries: Sequence[Entry], looks: LookStack) -> Integers:
    """Return one row of each different image, without plain ones."""
    first: dict[str, int] = {}
    for row, entry in enumerate(entries):
        first.setdefault(entry.pixels, row)
    rows = np.fromiter(first.values(), np.int64, len(first))
    blocks = [rows[start : start + _AT_ONCE] for start in range(0, len(rows), _AT_ONCE)]
    return np.concatenate(in_threads(lambda block: block[~is_plain(looks.take(block))], blocks) or [rows])
