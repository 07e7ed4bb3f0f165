"""The user's own split as lists of images: Pascal VOC's ImageSets, and the lists of Darknet, CVAT and Ultralytics.

Formats: The PASCAL Visual Object Classes Challenge 2012 Development Kit, section 2.2 (`ImageSets/Main/train.txt`, a
stem in each line); https://github.com/AlexeyAB/darknet#how-to-train-to-detect-your-custom-objects (`train.txt`, a path
in each line, named by the keys of `obj.data`). Only the ends of paths count: where the lists were made, the images were
elsewhere.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from panvision.dataset.packed import SPLITS
from panvision.dataset.paths import SPLIT_FOLDERS, relative
from panvision.dataset.problems import Problem, problem
from panvision.prepare.formats.layout import Reading, Sample
from panvision.prepare.formats.parsing import read_text

_ORDER: list[str] = list(SPLITS)
# Folders of a dataset that hold lists.
_FOLDERS = ("", "data", "ImageSets", "ImageSets/Main", "ImageSets/Segmentation", "ImageSets/Layout")
# Of Darknet's obj.data; Ultralytics' data.yaml has the same keys.
_NAMED = re.compile(r"^[ \t]*(train|valid|val|test)[ \t]*[=:][ \t]*[\"']?([^\"'\r\n]*\.txt)", re.MULTILINE)


@dataclass(frozen=True)
class _List:
    """A list of images: its file, its split, and the rows of its images."""

    file: str
    split: str
    rows: frozenset[int]


def follow_split_lists(reading: Reading, root: Path) -> Reading:
    """Give the samples the split of the user's own lists; split folders have precedence over lists.

    An image in several lists is in the test split before validation, and in validation before train. A list with
    exactly the images of an earlier one is ignored: Darknet needs a `valid`, which is often a copy of `train`. Images
    in no list are left to `validate`, which may put them anywhere.

    Args:
        reading: a dataset's samples.
        root: its folder.

    Returns:
        The reading with the splits, and with what was found as problems.
    """
    found = (
        []
        if any(sample.split for sample in reading.samples)
        else sorted(_find(root), key=lambda one: _ORDER.index(one[1]))
    )
    if not found:
        return reading
    tails = _tails(reading.samples)
    lists: list[_List] = []
    problems: list[Problem] = []
    for path, split in found:
        text = read_text(path, root)
        if not isinstance(text, str):
            problems.append(text)
            continue
        rows, unknown = _rows(text, tails)
        file = relative(path, root)
        if rows and unknown:
            reason = f"names {len(unknown)} images that are not in the dataset, first {unknown[0]}"
            problems.append(problem("split_list_unknown", file, reason))
        same = next((other for other in lists if rows == other.rows), None)
        if same and same.split != split:
            reason = f"lists the same images as {same.file}, and is ignored"
            problems.append(problem("split_lists_overlap", file, reason))
        elif rows and not same:
            lists.append(_List(file, split, rows))
    if not lists:
        return reading
    # Of several, the last one counts: what is tested or chosen on must not be trained.
    splits = {row: one.split for one in lists for row in one.rows}
    samples = [replace(sample, split=splits.get(row, "")) for row, sample in enumerate(reading.samples)]
    problems += _described(lists, splits, samples)
    return replace(reading, samples=samples, problems=[*reading.problems, *problems])


def _described(lists: list[_List], splits: dict[int, str], samples: list[Sample]) -> Iterator[Problem]:
    """Report the lists that were read, images in several of them, and images in none."""
    files = " and ".join(one.file for one in lists)
    yield problem("split_lists_read", lists[0].file, f"the split of {len(splits)} images is that of {files}")
    for one in lists:
        others = sorted(row for row in one.rows if splits[row] != one.split)
        if others and PurePosixPath(one.file).stem != "trainval":
            first = samples[others[0]]
            reason = f"lists {len(others)} images of other lists too, first {first.file}, which is in {first.split}"
            yield problem("split_lists_overlap", one.file, reason)
    missing = [sample.file for row, sample in enumerate(samples) if row not in splits]
    if missing:
        reason = f"{len(missing)} images are in none of {files}, first {missing[0]}"
        yield problem("split_list_incomplete", lists[0].file, reason)


def _find(root: Path) -> Iterator[tuple[Path, str]]:
    """Yield the lists and their splits: those with the usual names, and those that obj.data or data.yaml name."""
    named: dict[str, str] = {}
    for folder in (root, root / "data"):
        for path in (*_files(folder, ".data"), *_files(folder, ".yaml"), *_files(folder, ".yml")):
            text = read_text(path, root)
            for key, value in _NAMED.findall(text) if isinstance(text, str) else ():
                named.setdefault(PurePosixPath(value.replace("\\", "/")).name.lower(), SPLIT_FOLDERS[key])
    for name in _FOLDERS:
        for path in _files(root / name, ".txt"):
            usual = SPLIT_FOLDERS.get(path.stem.lower().removeprefix("autosplit_").replace("trainval", "train"))
            if split := named.get(path.name.lower(), usual):
                yield path, split


def _files(folder: Path, suffix: str) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.suffix.lower() == suffix and path.is_file())
    except OSError:
        return []  # absent, or reported by the code that lists the images


def _tails(samples: list[Sample]) -> dict[str, list[int]]:
    """Return the rows of each end of a path, with and without the suffix: `b.jpg`, `b`, `a/b.jpg` and so on."""
    found: dict[str, list[int]] = defaultdict(list)
    for row, sample in enumerate(samples):
        parts = sample.file.split("/")
        for start in range(len(parts)):
            tail = "/".join(parts[start:])
            for key in {tail, str(PurePosixPath(tail).with_suffix(""))}:
                found[key].append(row)
    return found


def _rows(text: str, tails: dict[str, list[int]]) -> tuple[frozenset[int], list[str]]:
    """Return the rows of the listed images, and the lines that name none, or several."""
    rows: set[int] = set()
    unknown: list[str] = []
    for line in text.splitlines():
        given = line.strip().strip("\"'")
        if not given or given.startswith("#"):
            continue
        # VOC's lists of a class have a number after the name, ImageNet's a label; names may have spaces.
        matches = [_match(name, tails) for name in dict.fromkeys((given, given.rpartition(" ")[0].rstrip() or given))]
        found = next((own for own in matches if own), [])
        if len(found) == 1:
            rows.add(found[0])
        else:
            unknown.append(given[:80])
    return frozenset(rows), unknown


def _match(name: str, tails: dict[str, list[int]]) -> list[int]:
    """Return the rows whose path has the longest end of a listed path."""
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
    for start in range(len(parts)):
        tail = "/".join(parts[start:])
        if own := tails.get(tail) or tails.get(str(PurePosixPath(tail).with_suffix(""))):
            return own
    return []
