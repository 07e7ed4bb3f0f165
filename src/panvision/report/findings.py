"""The problems of the raw data by kind, each with some of its images; copies and conflicts are shown side by side."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from panvision.dataset.problems import CATALOGUE, Problem
from panvision.report.archive import Archive, Box, Tile
from panvision.report.thumbnails import spread

Found = TypeVar("Found")

SEVERITIES = ("error", "warning", "fixed")
# Longer sides of thumbnails in pixels: of a single image, and of one among its copies.
SIDE, COPY_SIDE = 240, 160
# Shown members of a group, shown reasons of an image, and files listed by name.
MOST_MEMBERS, MOST_REASONS, MOST_LISTED = 6, 3, 100
# Columns of the page; a single image takes one, a group three.
COLUMNS = 6

_COPIES = ("split_leak", "copies_across_sets", "copies_in_set")
_COMPARED = ("label_conflict", "label_conflict_near", "neighbours_disagree")
_SINGLE_BOXES = ("box_unusual_size", "box_unusual_place", "boxes_duplicated")
# These name an image, but concern numbers of images.
_COUNTED = ("split_topped_up", "group_moved", "pin_unknown", "class_single_image")

# How validate writes the reason of a group, and a box.
_LINKS = re.compile(r"\(by ([a-z ]+)\)$")
_NUMBER = r"(-?\d[\d.]*(?:e[+-]?\d+)?)"
_BOX = re.compile(rf"\({_NUMBER}, {_NUMBER}, {_NUMBER}, {_NUMBER}\)")


@dataclass(frozen=True)
class ProblemRow:
    """Number of a problem, and its remedy."""

    code: str
    severity: str
    count: int
    remedy: str


@dataclass(frozen=True)
class Exhibit:
    """An image, or images to be compared, and the reasons of their problems.

    Attributes:
        tiles: the images.
        reasons: the reasons.
        more: number of reasons of the image, or of images of the group, that are not shown.
    """

    tiles: list[Tile]
    reasons: list[str]
    more: int = 0


@dataclass(frozen=True)
class Finding:
    """The problems of one code and severity.

    Attributes:
        code, severity, remedy: as in the catalogue.
        count: number of problems.
        exhibits: some of the images.
        listed: the first of the problems.
    """

    code: str
    severity: str
    remedy: str
    count: int
    exhibits: list[Exhibit]
    listed: list[Problem]

    @property
    def compared(self) -> bool:
        """True if an exhibit has more than one image."""
        return any(len(exhibit.tiles) > 1 for exhibit in self.exhibits)

    @property
    def complete(self) -> bool:
        """True if the exhibits show every problem."""
        shown = sum(len(exhibit.reasons) for exhibit in self.exhibits if not exhibit.more)
        return self.code not in _COPIES and shown == self.count

    @property
    def columns(self) -> int:
        """Number of the page's `COLUMNS` columns that it needs."""
        if not self.exhibits:
            return COLUMNS
        return min(COLUMNS, len(self.exhibits) * 3 if self.compared else max(2, len(self.exhibits)))


def problem_rows(problems: Mapping[str, int]) -> list[ProblemRow]:
    """Return the counts by code, errors first; a code of another version has no severity and no remedy."""
    rows = []
    for code, count in problems.items():
        severity, remedy = CATALOGUE.get(code, ("", ""))
        rows.append(ProblemRow(code, severity, count, remedy))
    return sorted(rows, key=lambda row: (severity_rank(row.severity), row.code))


def severity_rank(severity: str) -> int:
    """Return the rank of a severity: errors first, unknown ones last."""
    return SEVERITIES.index(severity) if severity in SEVERITIES else len(SEVERITIES)


def group_problems(problems: Iterable[Problem]) -> list[list[Problem]]:
    """Group problems by severity and code, errors first, each group sorted by file."""
    kinds: dict[tuple[int, str], list[Problem]] = defaultdict(list)
    for found in problems:
        kinds[severity_rank(found.severity), found.code].append(found)
    return [sorted(own, key=lambda found: (found.file, found.reason)) for _, own in sorted(kinds.items())]


def draw_findings(
    problems: Iterable[Problem], archive: Archive, limit: int, *, listed: int | None = MOST_LISTED
) -> list[Finding]:
    """Return all problems by kind, errors first, with some images of each.

    Args:
        problems: files are `dataset/file`, as in problems.csv.
        archive: the images.
        limit: images of a kind; of copies, groups of at most `MOST_MEMBERS` images each.
        listed: files of a kind that are listed by name; None: all.
    """
    shown: set[str] = set()
    findings = []
    for own in group_problems(problems):
        first = own[0]
        exhibits = list(_exhibits(first.code, own, archive, limit, shown)) if limit else []
        findings.append(Finding(first.code, first.severity, first.remedy, len(own), exhibits, own[:listed]))
    return findings


def _exhibits(code: str, own: list[Problem], archive: Archive, limit: int, shown: set[str]) -> Iterator[Exhibit]:
    """Yield the images of one kind; `shown` are the groups that are already on the page."""
    if code in _COPIES:
        yield from _groups(own, archive, limit, shown)
    elif code in _COMPARED:
        for found in spread_over(own, limit):
            names = [found.file, *_named(found, archive)]
            yield Exhibit([archive.tile(name, SIDE) for name in names[:MOST_MEMBERS]], [found.reason])
    elif code not in _COUNTED:
        by_file: dict[str, list[str]] = defaultdict(list)
        for found in own:
            if archive.is_image(found.file):
                by_file[found.file].append(found.reason)
        for file in spread_over(list(by_file), limit):
            reasons = by_file[file]
            boxes = _boxes(reasons) if code in _SINGLE_BOXES else []
            tile = archive.tile(file, SIDE, labelled=True, boxes=boxes)
            yield Exhibit([tile], reasons[:MOST_REASONS], more=max(0, len(reasons) - MOST_REASONS))


def _groups(own: list[Problem], archive: Archive, limit: int, shown: set[str]) -> Iterator[Exhibit]:
    """Yield groups of copies: those over several datasets first, then those found by content, bursts last."""
    reasons_of: dict[str, list[str]] = defaultdict(list)
    for found in own:
        group = archive.groups.get(found.file, "")
        if group and group not in shown:
            reasons_of[group].append(found.reason)
    links = {group: {link for reason in reasons for link in _links(reason)} for group, reasons in reasons_of.items()}

    def rank(group: str) -> tuple[bool, int, bool, int, str]:
        members = archive.members[group]
        datasets = {name.partition("/")[0] for name in members}
        return links[group] == {"burst"}, -len(datasets), "look" not in links[group], -len(members), group

    for group in sorted(reasons_of, key=rank)[:limit]:
        shown.add(group)
        members = archive.members[group]
        names = _representatives(members, archive)
        why = f", joined by {' and '.join(sorted(links[group]))}" if links[group] else ""
        reasons = reasons_of[group] if not why else [f"{len(members)} images{why}"]
        tiles = [archive.tile(name, COPY_SIDE) for name in names]
        yield Exhibit(tiles, reasons, more=len(members) - len(names))


def _representatives(members: Sequence[str], archive: Archive) -> list[str]:
    """Return some members, alternately from every dataset and split."""
    sides: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name in members:
        sides[name.partition("/")[0], archive.splits[name]].append(name)
    ranked = [(number, name) for names in sides.values() for number, name in enumerate(names)]
    chosen = {name for _, name in sorted(ranked)[:MOST_MEMBERS]}
    return [name for name in members if name in chosen]


def _named(found: Problem, archive: Archive) -> list[str]:
    """Return the other images of its dataset that a reason names, with or without the dataset."""
    dataset = found.file.partition("/")[0]
    words = _without_commas(f" {found.reason} ")
    names = [name for name in archive.splits if name.startswith(f"{dataset}/") and name != found.file]
    forms = {name: (name, name.removeprefix(f"{dataset}/")) for name in names}
    return [name for name in names if any(f" {_without_commas(form)} " in words for form in forms[name])]


def _without_commas(text: str) -> str:
    """Remove the commas of lists, which names may also contain."""
    return text.replace(", ", " ")


def _links(reason: str) -> list[str]:
    match = _LINKS.search(reason)
    return match[1].split(" and ") if match else []


def _boxes(reasons: Iterable[str]) -> list[Box]:
    """Return the boxes that reasons name."""
    return [
        (float(left), float(top), float(right), float(bottom))
        for reason in reasons
        for left, top, right, bottom in _BOX.findall(reason)
    ]


def spread_over(found: list[Found], limit: int) -> list[Found]:
    """Return at most `limit` of them at even distances."""
    return [found[row] for row in spread(np.arange(len(found)), limit)]
