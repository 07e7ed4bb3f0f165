"""The problems of the raw data by kind, each kind with some of its pictures: copies and rivals stand side by side."""

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
# Longer sides of thumbnails in pixels: of a picture, and of one among its copies.
SIDE, COPY_SIDE = 240, 160
# Members shown of a group, reasons shown of a picture, and files listed by name.
MOST_MEMBERS, MOST_REASONS, MOST_LISTED = 6, 3, 100
# Columns of the page; a picture alone takes one, a group three.
COLUMNS = 6

_COPIES = ("split_leak", "copies_across_sets", "copies_in_set")
_COMPARED = ("label_conflict", "label_conflict_near", "neighbours_disagree")
_SINGLE_BOXES = ("box_unusual_size", "box_unusual_place", "boxes_duplicated")
# These name a picture, but are about numbers of pictures.
_COUNTED = ("split_topped_up", "group_moved", "pin_unknown", "class_single_image")

# How validate says why a group is one, and how it writes a box.
_LINKS = re.compile(r"\(by ([a-z ]+)\)$")
_NUMBER = r"(-?\d[\d.]*(?:e[+-]?\d+)?)"
_BOX = re.compile(rf"\({_NUMBER}, {_NUMBER}, {_NUMBER}, {_NUMBER}\)")


@dataclass(frozen=True)
class ProblemRow:
    """How often a problem was met, and what to do about it."""

    code: str
    severity: str
    count: int
    remedy: str


@dataclass(frozen=True)
class Exhibit:
    """A picture, or pictures to be compared, and what is said of them.

    Attributes:
        tiles: the pictures.
        reasons: what is said.
        more: reasons of the one picture, or pictures of the group, that are not shown.
    """

    tiles: list[Tile]
    reasons: list[str]
    more: int = 0


@dataclass(frozen=True)
class Finding:
    """The problems of one code and severity.

    Attributes:
        code, severity, remedy: as in the catalogue.
        count: how many there are.
        exhibits: some of the pictures.
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
        """Whether an exhibit has more than one picture."""
        return any(len(exhibit.tiles) > 1 for exhibit in self.exhibits)

    @property
    def complete(self) -> bool:
        """Whether the exhibits say all that there is to say."""
        said = sum(len(exhibit.reasons) for exhibit in self.exhibits if not exhibit.more)
        return self.code not in _COPIES and said == self.count

    @property
    def columns(self) -> int:
        """How many of the page's `COLUMNS` columns it needs."""
        if not self.exhibits:
            return COLUMNS
        return min(COLUMNS, len(self.exhibits) * 3 if self.compared else max(2, len(self.exhibits)))


def problem_rows(problems: Mapping[str, int]) -> list[ProblemRow]:
    """Counts by code, errors first; a code of another version has no severity and no remedy."""
    rows = []
    for code, count in problems.items():
        severity, remedy = CATALOGUE.get(code, ("", ""))
        rows.append(ProblemRow(code, severity, count, remedy))
    return sorted(rows, key=lambda row: (severity_rank(row.severity), row.code))


def severity_rank(severity: str) -> int:
    """Errors first, what is no severity last."""
    return SEVERITIES.index(severity) if severity in SEVERITIES else len(SEVERITIES)


def group_problems(problems: Iterable[Problem]) -> list[list[Problem]]:
    """Problems of one severity and code together, errors first, each sorted by file."""
    kinds: dict[tuple[int, str], list[Problem]] = defaultdict(list)
    for found in problems:
        kinds[severity_rank(found.severity), found.code].append(found)
    return [sorted(own, key=lambda found: (found.file, found.reason)) for _, own in sorted(kinds.items())]


def draw_findings(problems: Iterable[Problem], archive: Archive, limit: int) -> list[Finding]:
    """All problems by kind, errors first, with some pictures of each.

    Args:
        problems: files are `task/file`, as validate has them.
        archive: the pictures.
        limit: pictures of a kind; of copies, groups of at most `MOST_MEMBERS` pictures each.
    """
    shown: set[str] = set()
    findings = []
    for own in group_problems(problems):
        first = own[0]
        exhibits = list(_exhibits(first.code, own, archive, limit, shown)) if limit else []
        findings.append(Finding(first.code, first.severity, first.remedy, len(own), exhibits, own[:MOST_LISTED]))
    return findings


def _exhibits(code: str, own: list[Problem], archive: Archive, limit: int, shown: set[str]) -> Iterator[Exhibit]:
    """The pictures of one kind; `shown` are the groups that stand on the page already."""
    if code in _COPIES:
        yield from _groups(own, archive, limit, shown)
    elif code in _COMPARED:
        for found in _spread(own, limit):
            names = [found.file, *_named(found, archive)]
            yield Exhibit([archive.tile(name, SIDE) for name in names[:MOST_MEMBERS]], [found.reason])
    elif code not in _COUNTED:
        by_file: dict[str, list[str]] = defaultdict(list)
        for found in own:
            if archive.is_picture(found.file):
                by_file[found.file].append(found.reason)
        for file in _spread(list(by_file), limit):
            reasons = by_file[file]
            boxes = _boxes(reasons) if code in _SINGLE_BOXES else []
            tile = archive.tile(file, SIDE, labelled=True, boxes=boxes)
            yield Exhibit([tile], reasons[:MOST_REASONS], more=max(0, len(reasons) - MOST_REASONS))


def _groups(own: list[Problem], archive: Archive, limit: int, shown: set[str]) -> Iterator[Exhibit]:
    """Groups of copies: those over several sets first, then those known by their look, bursts last."""
    said: dict[str, list[str]] = defaultdict(list)
    for found in own:
        group = archive.groups.get(found.file, "")
        if group and group not in shown:
            said[group].append(found.reason)
    links = {group: {link for reason in reasons for link in _links(reason)} for group, reasons in said.items()}

    def rank(group: str) -> tuple[bool, int, bool, int, str]:
        members = archive.members[group]
        sets = {name.partition("/")[0] for name in members}
        return links[group] == {"burst"}, -len(sets), "look" not in links[group], -len(members), group

    for group in sorted(said, key=rank)[:limit]:
        shown.add(group)
        members = archive.members[group]
        names = _representatives(members, archive)
        why = f", joined by {' and '.join(sorted(links[group]))}" if links[group] else ""
        reasons = said[group] if not why else [f"{len(members)} pictures{why}"]
        tiles = [archive.tile(name, COPY_SIDE) for name in names]
        yield Exhibit(tiles, reasons, more=len(members) - len(names))


def _representatives(members: Sequence[str], archive: Archive) -> list[str]:
    """Some members, of every set and split in turn."""
    sides: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name in members:
        sides[name.partition("/")[0], archive.splits[name]].append(name)
    ranked = [(place, name) for names in sides.values() for place, name in enumerate(names)]
    chosen = {name for _, name in sorted(ranked)[:MOST_MEMBERS]}
    return [name for name in members if name in chosen]


def _named(found: Problem, archive: Archive) -> list[str]:
    """The other pictures of its set that a reason names, with or without the set."""
    task = found.file.partition("/")[0]
    words = _without_commas(f" {found.reason} ")
    names = [name for name in archive.splits if name.startswith(f"{task}/") and name != found.file]
    forms = {name: (name, name.removeprefix(f"{task}/")) for name in names}
    return [name for name in names if any(f" {_without_commas(form)} " in words for form in forms[name])]


def _without_commas(text: str) -> str:
    """Text without the commas of lists, which names may hold, too."""
    return text.replace(", ", " ")


def _links(reason: str) -> list[str]:
    match = _LINKS.search(reason)
    return match[1].split(" and ") if match else []


def _boxes(reasons: Iterable[str]) -> list[Box]:
    """The boxes that reasons name."""
    return [
        (float(left), float(top), float(right), float(bottom))
        for reason in reasons
        for left, top, right, bottom in _BOX.findall(reason)
    ]


def _spread(found: list[Found], limit: int) -> list[Found]:
    """At most `limit` of them at even distances."""
    return [found[row] for row in spread(np.arange(len(found)), limit)]
