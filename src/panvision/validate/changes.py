"""The difference of two versions of the datasets: images added, removed, replaced, relabelled, renamed, and moved.

Images are the same if their files have the same content (SHA-256), under any names. A file with the same name and
other content is replaced. One image may be renamed, relabelled and moved to another split at once.
"""

import hashlib
import textwrap
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from panvision.core.tasks import DATASETS, Dataset
from panvision.dataset.packed import PackedError, PackedSet, open_packed, read_index, read_splits
from panvision.validate.verdict import read_entries

Kind = Literal["added", "removed", "replaced", "relabelled", "renamed", "moved"]
KINDS: tuple[Kind, ...] = get_args(Kind)
MEANINGS: dict[Kind, str] = {
    "added": "new content under a new name",
    "removed": "content and name are gone",
    "replaced": "the same name, other content",
    "relabelled": "the same content, another label",
    "renamed": "the same content, another name",
    "moved": "the same content, another split",
}
_WIDTH = 80
# Characters of the columns of the table.
_NAME, _COLUMNS = 20, (7, 9, 10, 12, 9, 7)


class Image(NamedTuple):
    """One image of a version.

    Attributes:
        file: its path below the dataset's folder.
        sha256: of the file.
        split: `train`, `val` or `test`.
        names: classes that it shows; "" for none.
        labels: its labels, equal for equal ones.
    """

    file: str
    sha256: str
    split: str
    names: tuple[str, ...]
    labels: Hashable


class Change(NamedTuple):
    """One difference.

    Attributes:
        kind: what happened.
        dataset: where.
        old, new: the image before and after; None if there was none.
    """

    kind: Kind
    dataset: Dataset
    old: Image | None
    new: Image | None

    @property
    def image(self) -> Image:
        """The image after the change, or the removed one."""
        found = self.new or self.old
        if found is None:
            raise ValueError("a change without an image")
        return found

    @property
    def reason(self) -> str:
        """Text of the difference."""
        if self.old is None or self.new is None:
            return f"{'in' if self.old is None else 'was in'} {self.image.split}, {_shown(self.image)}"
        if self.kind == "renamed":
            return f"was {self.old.file}"
        if self.kind == "moved":
            return f"{self.old.split} → {self.new.split}"
        if self.kind == "replaced":
            return "has other content"
        before, after = _shown(self.old), _shown(self.new)
        return f"{before} → {after}" if before != after else f"{after}, drawn otherwise"


class Version(NamedTuple):
    """The packed datasets of one version, and their splits.csv.

    Attributes:
        prepared: folder of the packed datasets.
        splits: splits.csv.
        supposed: True if the split was made now, so that no model needs to have been trained with it.
    """

    prepared: Path
    splits: Path
    supposed: bool = False


@dataclass(frozen=True)
class Changes:
    """The differences of two versions.

    Attributes:
        changes: sorted by kind, dataset and file.
        joined, left: number of images by content that the new test splits have and the old ones lack, and the reverse.
        relabelled: number of images of both test splits with other labels.
        seen: images of `joined` that were in an earlier training or validation split of any dataset; None if the
            earlier split is only supposed.
    """

    changes: list[Change]
    joined: int
    left: int
    relabelled: int
    seen: int | None

    @property
    def same_test(self) -> bool:
        """True if both versions test the same images with the same labels."""
        return not (self.joined or self.left or self.relabelled)

    def to_json(self) -> dict[str, Any]:
        """Return counts by dataset and class, the test split's change, and every change."""
        return {
            "counts": {task: _counts(own) for task, own in self._by_dataset().items()},
            "classes": {task: _class_counts(own) for task, own in self._by_dataset().items()},
            "moves": dict(self._moves()),
            "test_split": {name: getattr(self, name) for name in ("joined", "left", "relabelled", "seen")},
            "images": [
                {
                    "kind": each.kind,
                    "dataset": each.dataset,
                    "file": each.image.file,
                    "old_file": each.old and each.old.file,
                    "reason": each.reason,
                }
                for each in self.changes
            ],
        }

    def table(self, against: str) -> list[str]:
        """Return counts by dataset and class, and what changed in the splits, at most 80 columns wide."""
        title = f"changes against {against}"
        lines = [title if len(title) <= _WIDTH else f"{title[: _WIDTH - 1]}…", _line("", KINDS)]
        for task, own in self._by_dataset().items():
            lines.append(_line(task, _counts(own).values()))
            for name, counts in _class_counts(own).items():
                label = name if len(name) <= 18 else f"{name[:17]}…"
                lines.append(_line(f"  {label}", counts.values()))
        lines += [f"moved {way}: {count}" for way, count in sorted(self._moves().items())]
        return [*lines, *textwrap.wrap(self._test_text(), _WIDTH, subsequent_indent="  ")]

    def _test_text(self) -> str:
        text = "test split: the same images and labels"
        if not self.same_test:
            text = (
                f"test split: {self.joined} images joined, {self.left} left, {self.relabelled} relabelled. Metrics of "
                "earlier models belong to other images; `panvision promote` scores two models on the same ones"
            )
        if self.seen is None:
            text += (
                ". The earlier split is supposed: by the present settings, without pins. Only a git revision "
                "or `panvision promote` shows if earlier models learned from these test images"
            )
        elif self.seen:
            text += f". {self.seen} of those that joined were training or validation images of earlier models"
        return text

    def _by_dataset(self) -> dict[Dataset, list[Change]]:
        return {task: [each for each in self.changes if each.dataset == task] for task in DATASETS}

    def _moves(self) -> Mapping[str, int]:
        return Counter(each.reason for each in self.changes if each.kind == "moved")


def find_changes(old: Version, new: Version) -> Changes:
    """Compare two versions.

    Masks are compared by their packed pixels where both versions are packed at one size, else by the fraction of pan.

    Raises:
        PackedError: a version cannot be read.
    """
    changes: list[Change] = []
    joined, left = Counter[str](), Counter[str]()
    learned: set[str] = set()
    for dataset in DATASETS:
        before, after = (open_packed(each.prepared / dataset, dataset) for each in (old, new))
        pixels = before.image_size == after.image_size
        earlier, later = (_images(own, each, pixels) for own, each in ((before, old), (after, new)))
        changes += _compare(dataset, earlier, later)
        ones, others = (Counter(image.sha256 for image in own if image.split == "test") for own in (earlier, later))
        learned |= {image.sha256 for image in earlier if image.split != "test"}
        joined, left = joined + (others - ones), left + (ones - others)
    relabelled = sum(
        each.kind == "relabelled" and all(image and image.split == "test" for image in (each.old, each.new))
        for each in changes
    )
    order = {kind: rank for rank, kind in enumerate(KINDS)}
    changes.sort(key=lambda each: (order[each.kind], DATASETS.index(each.dataset), each.image.file))
    # A model may have learned from every dataset.
    seen = None if old.supposed else sum(count for sha256, count in joined.items() if sha256 in learned)
    return Changes(changes, joined.total(), left.total(), relabelled, seen)


def _images(packed: PackedSet, version: Version, pixels: bool) -> list[Image]:
    index = read_index(packed.folder, packed.task)
    try:
        entries = read_entries(packed, index)
    except (KeyError, ValueError) as error:
        raise PackedError(f"{packed.folder}: made by another version ({error}); run `dvc repro validate`") from error
    rows = read_splits(version.splits, packed.task, packed.files)
    splits = {int(row): split for split, own in rows.items() for row in own}
    return [
        Image(entry.file, entry.sha256, splits[row], entry.traits, _labels(packed, index, row, pixels))
        for row, entry in enumerate(entries)
    ]


def _labels(packed: PackedSet, index: Any, row: int, pixels: bool) -> Hashable:
    """Return the class, the boxes to hundredths of a pixel with their classes, or a hash of the mask."""
    if packed.states is not None:
        return packed.classes[int(packed.states[row])]
    if packed.masks is not None:
        fraction = round(float(index["pan_fraction"].iloc[row]), 3)
        return hashlib.sha256(packed.masks[row].tobytes()).hexdigest() if pixels else fraction
    found = []
    for kind, boxes, labels in (("", packed.boxes, packed.labels), ("crowd ", packed.crowds, packed.crowd_labels)):
        for box, label in zip((boxes or [])[row], (labels or [])[row], strict=True):
            found.append((kind + packed.classes[int(label)], *(round(float(edge), 2) for edge in box)))
    return tuple(sorted(found))


def _compare(dataset: Dataset, old: Sequence[Image], new: Sequence[Image]) -> Iterator[Change]:
    pairs, gone, fresh = _matched(old, new)
    for before, after in pairs:
        if before.labels != after.labels:
            yield Change("relabelled", dataset, before, after)
        if before.file != after.file:
            yield Change("renamed", dataset, before, after)
        if before.split != after.split:
            yield Change("moved", dataset, before, after)
    names = {image.file: image for image in gone}
    for image in fresh:
        earlier = names.get(image.file)
        yield Change("added" if earlier is None else "replaced", dataset, earlier, image)
    replaced = {image.file for image in fresh}
    yield from (Change("removed", dataset, image, None) for file, image in names.items() if file not in replaced)


def _matched(old: Iterable[Image], new: Iterable[Image]) -> tuple[list[tuple[Image, Image]], list[Image], list[Image]]:
    """Pair images of equal content, those of equal names first; return the pairs and the rest of both."""
    contents: dict[str, list[Image]] = defaultdict(list)
    for image in old:
        contents[image.sha256].append(image)
    pairs: list[tuple[Image, Image]] = []
    unnamed: list[Image] = []
    fresh: list[Image] = []
    for image in new:
        own = contents[image.sha256]
        same = next((each for each in own if each.file == image.file), None)
        if same is None:
            unnamed.append(image)
        else:
            own.remove(same)
            pairs.append((same, image))
    for image in unnamed:
        own = contents[image.sha256]
        if own:
            pairs.append((own.pop(0), image))
        else:
            fresh.append(image)
    return pairs, [image for own in contents.values() for image in own], fresh


def _counts(changes: Iterable[Change]) -> dict[Kind, int]:
    counts = Counter(each.kind for each in changes)
    return {kind: counts[kind] for kind in KINDS}


def _class_counts(changes: Iterable[Change]) -> dict[str, dict[Kind, int]]:
    """Count by class; an image counts for every class that it shows or showed."""
    by_class: dict[str, list[Change]] = defaultdict(list)
    for each in changes:
        for name in {name for image in (each.old, each.new) if image for name in image.names} - {""}:
            by_class[name].append(each)
    return {name: _counts(own) for name, own in sorted(by_class.items())}


def _shown(image: Image) -> str:
    """Return the labels in short: the class, the classes of boxes with their numbers, or if there is a pan."""
    if isinstance(image.labels, tuple):
        counts = Counter(str(label[0]) for label in image.labels)
        return ", ".join(f"{count} {name}" for name, count in sorted(counts.items())) or "no objects"
    return ", ".join(image.names).strip() or "no pan"


def _line(name: str, cells: Iterable[object]) -> str:
    return f"{name:<{_NAME}}" + "".join(f"{cell!s:>{width}}" for cell, width in zip(cells, _COLUMNS, strict=True))
