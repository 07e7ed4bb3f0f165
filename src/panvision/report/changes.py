"""The differences of two versions of the datasets by kind, with images before and after."""

from collections.abc import Iterable

from panvision.dataset.problems import Problem
from panvision.report.archive import Archive
from panvision.report.findings import COPY_SIDE, MOST_LISTED, SIDE, Exhibit, Finding, spread_over
from panvision.validate.changes import KINDS, MEANINGS, Change


def draw_changes(changes: Iterable[Change], old: Archive, new: Archive, limit: int) -> list[Finding]:
    """Return all changes by kind, with some images of each.

    Args:
        changes: from `validate.changes.find_changes`.
        old, new: the images of both versions.
        limit: images shown of each kind.
    """
    changes = list(changes)
    findings = []
    for kind in KINDS:
        own = [each for each in changes if each.kind == kind]
        if own:
            listed = [Problem(kind, "fixed", _name(each), each.reason, MEANINGS[kind]) for each in own[:MOST_LISTED]]
            exhibits = [_exhibit(each, old, new) for each in spread_over(own, limit)]
            findings.append(Finding(kind, "", MEANINGS[kind], len(own), exhibits, listed))
    return findings


def _exhibit(change: Change, old: Archive, new: Archive) -> Exhibit:
    """Show the image, before and after where both differ."""
    both = change.kind in ("replaced", "relabelled")
    sides = [(old, change.old), (new, change.new)]
    shown = [(archive, image) for archive, image in sides if image is not None]
    tiles = [
        archive.tile(f"{change.dataset}/{image.file}", COPY_SIDE if both else SIDE, labelled=True)
        for archive, image in (shown if both else shown[-1:])
    ]
    return Exhibit(tiles, [change.reason])


def _name(change: Change) -> str:
    return f"{change.dataset}/{change.image.file}"
