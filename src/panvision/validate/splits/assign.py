"""Train, val and test over all three sets at once: no photo on two sides, and old images stay where they are."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from panvision.dataset.packed import SPLITS, Split
from panvision.dataset.problems import IngestError, Problem, problem
from panvision.validate.copies.groups import Entry
from panvision.validate.settings import SplitSettings
from panvision.validate.splits.balance import deal_evenly
from panvision.validate.splits.pins import follow_exports, moved_pins, unknown_pins
from panvision.validate.splits.stable import Move, deal_by_hash
from panvision.validate.splits.units import (
    TRAIN,
    WHOLE,
    Feature,
    Pins,
    Places,
    Unit,
    choices_of,
    make_units,
    number_features,
)

# Of fewer images chance alone often leaves less than half of its share to train.
_ENOUGH_IMAGES = 10


@dataclass(frozen=True)
class Assignment:
    """The split of each entry, and what is wrong with it."""

    splits: list[str]
    problems: list[Problem]


def assign_splits(entries: Sequence[Entry], groups: Sequence[str], settings: SplitSettings, pins: Pins) -> Assignment:
    """Give each image `train`, `val` or `test`, whole groups at a time.

    Users' own splits stand: a set that has all three keeps them; one that lacks val or test has it taken out of
    train. Images linked to a user's split follow it, and groups that the users' splits tear apart are reported.
    Pinned images stay where the pin says, unless their own folder says otherwise, and their groups with them.
    The rest is dealt out by `settings.method`.

    With k folds everything is dealt out to k folds instead, the users' own splits pooled: over `fold` = 0 … k - 1
    each image is in the test split once and in the validation split once.

    Args:
        entries: all images of all sets.
        groups: the group of each.
        settings: wished shares, seed and method.
        pins: the split of images by task and file.

    Returns:
        The splits, and the problems; a set of which a split stays empty is one of them (`split_empty`, an error).

    Raises:
        IngestError: both pins and folds are given.
    """
    places = Places.of(settings)
    pins = follow_exports(entries, pins)
    if settings.folds:
        if pins:
            raise IngestError(
                f"{settings.pins}: pins {len(pins)} images, and split.folds is {settings.folds}: in k-fold every image "
                "is tested once, pinned or not; set split.folds to 0, or leave only the header in the pins"
            )
        choices = [tuple(range(settings.folds))] * len(entries)
    else:
        choices = choices_of(entries, groups, pins)
    numbers = number_features(entries)
    units = make_units(entries, groups, choices, numbers=numbers, seed=settings.seed)
    if settings.method == "stable":
        where, moves = deal_by_hash(units, numbers, places)
    else:
        where, moves = deal_evenly(units, entries, numbers, places), []
    splits = [""] * len(entries)
    for unit, place in zip(units, where, strict=True):
        for row in unit.rows:
            splits[row] = _split(place, settings)
    problems = [
        *(_topped_up(move, units[move.unit], entries, places) for move in moves),
        *_empty_splits(entries, groups, splits, choices, folds=settings.folds),
        *([] if settings.folds else _starved(entries, groups, splits, choices, wished=places.shares[TRAIN])),
        *_absent_classes(entries, groups, splits),
        *(_pooled(entries, settings) if settings.folds else _leaks(entries, groups, splits)),
        *unknown_pins(entries, pins, settings.pins),
        *moved_pins(entries, groups, splits, pins),
    ]
    return Assignment(splits, problems)


def _split(place: int, settings: SplitSettings) -> Split:
    """The split that a place stands for."""
    if not settings.folds:
        return SPLITS[place]
    return {0: SPLITS[2], 1: SPLITS[1]}.get((place - settings.fold) % settings.folds, SPLITS[0])


def _topped_up(move: Move, unit: Unit, entries: Sequence[Entry], places: Places) -> Problem:
    task, trait = move.feature
    rows = [row for row in unit.rows if entries[row].task == task and trait in (WHOLE, *entries[row].traits)]
    others = f" with {len(unit.rows) - 1} more of its group" if len(unit.rows) > 1 else ""
    lack = f"no image of {task}" if trait == WHOLE else f"no {trait!r}"
    source, target = places.names[move.source], places.names[move.target]
    return problem(
        "split_topped_up", entries[rows[0]].name, f"goes to {target} instead of {source}{others}: {target} had {lack}"
    )


def _empty_splits(
    entries: Sequence[Entry],
    groups: Sequence[str],
    splits: Sequence[str],
    choices: Sequence[tuple[int, ...]],
    *,
    folds: int,
) -> list[Problem]:
    """Sets of which a split holds nothing."""
    rows_of: dict[str, list[int]] = defaultdict(list)
    for row, entry in enumerate(entries):
        rows_of[entry.task].append(row)
    problems: list[Problem] = []
    for task, rows in sorted(rows_of.items()):
        present = {splits[row] for row in rows}
        lacking = [split for split in SPLITS if split not in present]
        if lacking:
            size = f"{_count(len(rows), 'image')} in {_count(len({groups[row] for row in rows}), 'group')}"
            bound = sum(len(choices[row]) == 1 for row in rows)
            fixed = f", {bound} of them bound by their folders, pins or links to such" if bound else ""
            fixed += f", for {folds} folds" if folds else ""
            problems.append(
                problem(
                    "split_empty",
                    task,
                    f"nothing is left for {' and '.join(lacking)}: {size} of the same photos{fixed}",
                )
            )
    return problems


def _starved(
    entries: Sequence[Entry],
    groups: Sequence[str],
    splits: Sequence[str],
    choices: Sequence[tuple[int, ...]],
    *,
    wished: float,
) -> list[Problem]:
    """Sets of which train got less than half of its share, as where chance sends a large group elsewhere.

    Only images count that neither folders nor pins hold in one split.
    """
    dealt: dict[str, list[int]] = defaultdict(list)
    for row, entry in enumerate(entries):
        if len(choices[row]) > 1:
            dealt[entry.task].append(row)
    problems: list[Problem] = []
    for task, rows in sorted(dealt.items()):
        elsewhere = [row for row in rows if splits[row] != "train"]
        held = len(rows) - len(elsewhere)
        if len(rows) < _ENOUGH_IMAGES or not 0 < held < wished / 2 * len(rows):
            continue
        sizes = Counter((groups[row], splits[row]) for row in elsewhere)
        (largest, place), size = min(sizes.items(), key=lambda found: (-found[1], found[0]))
        reason = (
            f"train gets {held} of the {len(rows)} images that are dealt out, {held / len(rows):.1%} instead of "
            f"{wished:.0%}; the largest group elsewhere, that of {largest}, takes {size} of them to {place}"
        )
        problems.append(problem("split_uneven", task, reason))
    return problems


def _absent_classes(entries: Sequence[Entry], groups: Sequence[str], splits: Sequence[str]) -> list[Problem]:
    """Classes without an image in some split, where the set has images."""
    present: dict[Feature, Counter[str]] = defaultdict(Counter)
    groups_of: dict[Feature, set[str]] = defaultdict(set)
    for entry, group, split in zip(entries, groups, splits, strict=True):
        for trait in (WHOLE, *entry.traits):
            present[entry.task, trait][split] += 1
            groups_of[entry.task, trait].add(group)
    return [
        problem("class_absent", task, f"{trait!r}, with {size}, has none in {split}")
        for (task, trait), counts in sorted(present.items())
        if trait not in (WHOLE, "")
        for size in [f"{_count(counts.total(), 'image')} in {_count(len(groups_of[task, trait]), 'group')}"]
        for split in SPLITS
        if counts[split] == 0 and present[task, WHOLE][split]
    ]


def _leaks(entries: Sequence[Entry], groups: Sequence[str], splits: Sequence[str]) -> list[Problem]:
    """Groups on two sides, which only the users' own splits can cause."""
    sides: dict[str, dict[str, str]] = defaultdict(dict)
    for entry, group, split in zip(entries, groups, splits, strict=True):
        first = sides[group].setdefault(split, entry.name)
        sides[group][split] = min(first, entry.name)
    problems: list[Problem] = []
    for found in sides.values():
        if len(found) > 1:
            shown = ", ".join(f"{found[split]} in {split}" for split in SPLITS if split in found)
            problems.append(problem("split_leak", min(found.values()), f"the same photo on two sides: {shown}"))
    return problems


def _pooled(entries: Sequence[Entry], settings: SplitSettings) -> list[Problem]:
    """Sets whose own splits the folds do not follow."""
    own: Mapping[str, Counter[str]] = defaultdict(Counter)
    for entry in entries:
        if entry.split:
            own[entry.task][entry.split] += 1
    return [
        problem(
            "own_split_pooled",
            task,
            f"has {', '.join(f'{counts[split]} {split}' for split in SPLITS if counts[split])} images by its folders, "
            f"which are dealt out to {settings.folds} folds together",
        )
        for task, counts in sorted(own.items())
    ]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
