"""The split over all datasets at once: no photo on two sides, and old images stay where they are."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from panvision.dataset.packed import SPLITS, Split
from panvision.dataset.problems import IngestError, Problem, problem
from panvision.validate.copies.groups import Entry
from panvision.validate.settings import SplitSettings
from panvision.validate.splits.balance import deal_evenly
from panvision.validate.splits.pins import follow_exports, moved_pins, unknown_pins
from panvision.validate.splits.stable import Move, deal_by_hash
from panvision.validate.splits.units import (
    TEST,
    TRAIN,
    VAL,
    WHOLE,
    Feature,
    Pins,
    Places,
    Unit,
    choices_of,
    features_of,
    make_units,
)

# With fewer images chance alone often leaves less than half of its share to train.
_ENOUGH_IMAGES = 10

Choices = Sequence[tuple[int, ...]]


@dataclass(frozen=True)
class Assignment:
    """The split of each entry, and its problems."""

    splits: list[str]
    problems: list[Problem]


def assign_splits(entries: Sequence[Entry], groups: Sequence[str], settings: SplitSettings, pins: Pins) -> Assignment:
    """Give each image `train`, `val` or `test`, whole groups at a time.

    Users' own splits are kept: a dataset with all three keeps them; from one that lacks val or test it is taken out of
    train. Images linked to a user's split follow it, and groups that the users' splits tear apart are reported. Pinned
    images stay where the pin says, unless their own folder says otherwise, and their groups with them. The rest is
    assigned by `settings.method`.

    With k folds everything is assigned to k folds instead, the users' own splits pooled: over `fold` = 0 … k - 1 each
    image is in the test split once and in the validation split once.

    Args:
        entries: all images of all datasets.
        groups: the group of each.
        settings: wished shares, seed and method.
        pins: the split of images by dataset and file.

    Returns:
        The splits, and the problems; an empty split of a dataset is one of them (`split_empty`, an error).

    Raises:
        IngestError: both pins and folds are given.
    """
    places = Places.of(settings)
    pins = follow_exports(entries, pins)
    if settings.folds and pins:
        raise IngestError(
            f"{settings.pins}: pins {len(pins)} images, but split.folds is {settings.folds}; in k-fold every image is "
            "tested once, so set split.folds to 0, or leave only the header in the pins"
        )
    folds: Choices = [tuple(range(settings.folds))] * len(entries)
    choices = folds if settings.folds else choices_of(entries, groups, pins)
    units = make_units(entries, groups, choices, settings.seed)
    moves: list[Move] = []
    if settings.method == "stable":
        where, moves = deal_by_hash(units, places)
    else:
        where = deal_evenly(units, entries, places)
    splits = [""] * len(entries)
    for unit, place in zip(units, where, strict=True):
        for row in unit.rows:
            splits[row] = _split(place, settings)
    problems = [
        *(_topped_up(move, units[move.unit], entries, places) for move in moves),
        *_empty_splits(entries, groups, splits, choices, folds=settings.folds),
        *([] if settings.folds else _starved(entries, groups, splits, choices, wished=places.shares[TRAIN])),
        *([] if settings.folds else _small(entries, splits, choices, places)),
        *_absent_classes(entries, groups, splits),
        *(_pooled(entries, settings) if settings.folds else _leaks(entries, groups, splits)),
        *unknown_pins(entries, pins, settings.pins or "pins"),
        *moved_pins(entries, groups, splits, pins),
    ]
    return Assignment(splits, problems)


def _split(place: int, settings: SplitSettings) -> Split:
    if not settings.folds:
        return SPLITS[place]
    return {0: SPLITS[2], 1: SPLITS[1]}.get((place - settings.fold) % settings.folds, SPLITS[0])


def _topped_up(move: Move, unit: Unit, entries: Sequence[Entry], places: Places) -> Problem:
    task, trait = move.feature
    first = next(row for row in unit.rows if move.feature in features_of(entries[row]))
    others = f" with {len(unit.rows) - 1} more of its group" if len(unit.rows) > 1 else ""
    lack = f"no image of {task}" if trait == WHOLE else f"no {trait!r}"
    source, target = places.names[move.source], places.names[move.target]
    reason = f"goes to {target} instead of {source}{others}: {target} had {lack}"
    return problem("split_topped_up", entries[first].name, reason)


def _rows_by_task(entries: Sequence[Entry]) -> list[tuple[str, list[int]]]:
    rows: dict[str, list[int]] = defaultdict(list)
    for row, entry in enumerate(entries):
        rows[entry.task].append(row)
    return sorted(rows.items())


def _empty_splits(
    entries: Sequence[Entry], groups: Sequence[str], splits: Sequence[str], choices: Choices, *, folds: int
) -> Iterator[Problem]:
    """Find datasets with an empty split."""
    for task, rows in _rows_by_task(entries):
        present = {splits[row] for row in rows}
        lacking = [split for split in SPLITS if split not in present]
        if lacking:
            size = f"{_count(len(rows), 'image')} in {_count(len({groups[row] for row in rows}), 'group')}"
            bound = sum(len(choices[row]) == 1 for row in rows)
            fixed = f", {bound} of them bound by their folders, pins or links to such" if bound else ""
            fixed += f", for {folds} folds" if folds else ""
            reason = f"nothing is left for {' and '.join(lacking)}: {size} of the same photos{fixed}"
            yield problem("split_empty", task, reason)


def _starved(
    entries: Sequence[Entry], groups: Sequence[str], splits: Sequence[str], choices: Choices, *, wished: float
) -> Iterator[Problem]:
    """Find datasets of which train got less than half of its share, for example because a large group is elsewhere.

    Only images count that neither folders nor pins keep in one split.
    """
    for task, members in _rows_by_task(entries):
        rows = [row for row in members if len(choices[row]) > 1]
        elsewhere = [row for row in rows if splits[row] != "train"]
        held = len(rows) - len(elsewhere)
        if len(rows) < _ENOUGH_IMAGES or not 0 < held < wished / 2 * len(rows):
            continue
        sizes = Counter((groups[row], splits[row]) for row in elsewhere)
        (largest, place), size = min(sizes.items(), key=lambda found: (-found[1], found[0]))
        reason = (
            f"train gets {held} of {len(rows)} images, {held / len(rows):.1%} instead of {wished:.0%}; the largest "
            f"group elsewhere, that of {largest}, takes {size} of them to {place}"
        )
        yield problem("split_uneven", task, reason)


def _small(entries: Sequence[Entry], splits: Sequence[str], choices: Choices, places: Places) -> Iterator[Problem]:
    """Find datasets of which val or test got less than half of its share, by chance or because groups are large.

    Images that folders or pins keep in a split count in full for its share.
    """
    for task, rows in _rows_by_task(entries):
        free = [row for row in rows if len(choices[row]) > 1]
        for place in (VAL, TEST) if len(free) >= _ENOUGH_IMAGES else ():
            held = sum(splits[row] == SPLITS[place] for row in rows)
            wished = sum(choices[row] == (place,) for row in rows) + sum(
                places.shares[place] / sum(places.shares[choice] for choice in choices[row])
                for row in free
                if place in choices[row]
            )
            if 0 < held < wished / 2:
                reason = f"{SPLITS[place]} gets {held} of {len(rows)} images, {held / len(rows):.1%}"
                yield problem("split_small", task, f"{reason} instead of {wished / len(rows):.0%}")


def _absent_classes(entries: Sequence[Entry], groups: Sequence[str], splits: Sequence[str]) -> Iterator[Problem]:
    """Find classes without an image in some split that has images of the dataset."""
    present: dict[Feature, Counter[str]] = defaultdict(Counter)
    groups_of: dict[Feature, set[str]] = defaultdict(set)
    for entry, group, split in zip(entries, groups, splits, strict=True):
        for feature in features_of(entry):
            present[feature][split] += 1
            groups_of[feature].add(group)
    for (task, trait), counts in sorted(present.items()):
        size = f"{_count(counts.total(), 'image')} in {_count(len(groups_of[task, trait]), 'group')}"
        for split in SPLITS if trait not in (WHOLE, "") else ():
            if counts[split] == 0 and present[task, WHOLE][split]:
                yield problem("class_absent", task, f"{trait!r}, with {size}, has none in {split}")


def _leaks(entries: Sequence[Entry], groups: Sequence[str], splits: Sequence[str]) -> Iterator[Problem]:
    """Find groups on two sides, which only the users' own splits can cause."""
    sides: dict[str, dict[str, str]] = defaultdict(dict)
    for entry, group, split in zip(entries, groups, splits, strict=True):
        sides[group][split] = min(sides[group].get(split, entry.name), entry.name)
    for found in sides.values():
        if len(found) > 1:
            shown = ", ".join(f"{found[split]} in {split}" for split in SPLITS if split in found)
            yield problem(
                "split_leak",
                min(found.values()),
                f"related images (copies, a burst or a video) are on two sides: {shown}",
            )


def _pooled(entries: Sequence[Entry], settings: SplitSettings) -> Iterator[Problem]:
    """Find datasets whose own splits the folds ignore."""
    for task, rows in _rows_by_task(entries):
        counts = Counter(entries[row].split for row in rows)
        given = ", ".join(f"{counts[split]} {split}" for split in SPLITS if counts[split])
        if given:
            reason = f"has {given} images by its folders or lists, which are pooled for {settings.folds} folds"
            yield problem("own_split_pooled", task, reason)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
