"""The three packed sets judged together: what is wrong with them, what is doubtful, and one split over all of them."""

import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from panvision.core.files import write_json, write_rows
from panvision.core.tasks import DATASETS, Dataset
from panvision.dataset.descriptors import LookStack
from panvision.dataset.packed import SPLIT_COLUMNS, SPLITS, PackedError, PackedSet, open_packed, read_index
from panvision.dataset.problems import Problem, describe, problem, read_problems, write_problems
from panvision.validate.checks.suspicions import describe_colours, suspicious_boxes, suspicious_states
from panvision.validate.copies.groups import Entry, Groups, join_groups
from panvision.validate.settings import SplitSettings
from panvision.validate.splits.assign import Assignment, assign_splits
from panvision.validate.splits.units import Pins

# Files that one problem names, and errors that a refusal lists.
_NAMED, _LISTED = 4, 50


@dataclass(frozen=True)
class Verdict:
    """What validate found and decided.

    Attributes:
        entries: every image of every set, by task and file.
        groups: which of them show one photo, and why.
        assignment: the split of each, and the problems of the split.
        problems: every problem, of prepare and of the sets together; files are `task/file`.
    """

    entries: list[Entry]
    groups: Groups
    assignment: Assignment
    problems: list[Problem]

    @property
    def errors(self) -> list[Problem]:
        """The problems over which nothing is trained."""
        return [found for found in self.problems if found.severity == "error"]

    def refusal(self) -> str:
        """The errors, each with its file, reason and remedy; "" if there are none."""
        count = len(self.errors)
        if not count:
            return ""
        listed = describe(self.errors, limit=_LISTED, more="; `panvision validate DATA_ROOT` lists them all")
        return f"{listed}\n{count} error{'s' * (count > 1)} in the raw data; nothing is trained until they are mended"

    def metrics(self) -> dict[str, Any]:
        """The contents of metrics/data.json: counts by task, class, split and fault code."""
        tasks_of: dict[str, set[str]] = defaultdict(set)
        for entry, group in zip(self.entries, self.groups.names, strict=True):
            tasks_of[group].add(entry.task)
        figures: dict[str, Any] = {task: self._task_metrics(task) for task in DATASETS}
        figures["problems"] = dict(Counter(found.code for found in self.problems))
        spanning = {group for group, tasks in tasks_of.items() if len(tasks) > 1}
        figures["cross_task_groups"] = len(spanning)
        figures["cross_task_images"] = sum(group in spanning for group in self.groups.names)
        return figures

    def _task_metrics(self, task: Dataset) -> dict[str, Any]:
        rows = [row for row, entry in enumerate(self.entries) if entry.task == task]
        splits = Counter(self.assignment.splits[row] for row in rows)
        classes = sorted({trait for row in rows for trait in self.entries[row].traits if trait})
        counts = Counter(
            (trait, self.assignment.splits[row]) for row in rows for trait in self.entries[row].traits if trait
        )
        return {
            "images": len(rows),
            "groups": len({self.groups.names[row] for row in rows}),
            **{split: splits[split] for split in SPLITS},
            "classes": {name: {split: counts[name, split] for split in SPLITS} for name in classes},
            "problems": dict(Counter(found.code for found in self.problems if _task_of(found) == task)),
        }

    def table(self) -> str:
        """The figures as text, at most 80 columns."""
        figures = self.metrics()
        lines = [f"{'':32}{'images':>8}{'groups':>8}" + "".join(f"{split:>8}" for split in SPLITS)]
        for task in DATASETS:
            own = figures[task]
            numbers = (own["images"], own["groups"], *(own[split] for split in SPLITS))
            lines.append(f"{task:32}" + "".join(f"{number:>8}" for number in numbers))
            for name, counts in own["classes"].items():
                total = sum(counts.values())
                label = name if len(name) <= 28 else f"{name[:27]}…"
                lines.append(f"  {label:30}{total:>8}{'':8}" + "".join(f"{counts[split]:>8}" for split in SPLITS))
        lines.append(
            f"groups that span sets: {figures['cross_task_groups']}, with {figures['cross_task_images']} images"
        )
        severities = {found.code: found.severity for found in self.problems}
        order = sorted(figures["problems"], key=lambda code: (_SEVERITIES.index(severities[code]), code))
        lines += [f"{severities[code]:8}{code:32}{figures['problems'][code]:>8}" for code in order]
        return "\n".join(lines)


_SEVERITIES = ("error", "warning", "fixed")


def judge(prepared: str | Path, settings: SplitSettings, pins: Pins) -> Verdict:
    """Check the packed sets together and split them; what is wrong with the data is told, not raised.

    Args:
        prepared: the folder with one packed set per task.
        settings: the `split` section.
        pins: where some images stay (`pins.read_pins`).

    Raises:
        IngestError: pins that cannot be kept together with `settings`.
        PackedError: a packed set is missing or damaged.
    """
    packed = [open_packed(Path(prepared) / task, task) for task in DATASETS]
    entries: list[Entry] = []
    problems: list[Problem] = []
    for own in packed:
        try:
            entries += _entries(own)
            problems += [_with_task(found, own.task) for found in read_problems(own.folder / "problems.csv")]
        except (FileNotFoundError, KeyError, ValueError) as error:
            remedy = f"run `python stages/prepare.py {own.task}` again"
            raise PackedError(f"{own.folder}: incomplete ({error}); {remedy}") from error
    groups = join_groups(entries, LookStack([own.looks for own in packed]), settings)
    assignment = assign_splits(entries, groups.names, settings, pins)
    problems += [
        *_label_conflicts(entries),
        *_near_conflicts(entries, groups),
        *_copies(entries, groups),
        *assignment.problems,
        *_second_looks(packed, entries, groups),
    ]
    return Verdict(entries, groups, assignment, sorted(set(problems)))


def write_verdict(verdict: Verdict, splits: str | Path, problems: str | Path, metrics: str | Path) -> None:
    """Write splits.csv (sorted by task and file), problems.csv and data.json."""
    rows = sorted(
        (entry.task, entry.file, group, split)
        for entry, group, split in zip(verdict.entries, verdict.groups.names, verdict.assignment.splits, strict=True)
    )
    write_rows(splits, SPLIT_COLUMNS, rows)
    write_problems(Path(problems), verdict.problems)
    write_json(metrics, verdict.metrics())


def _entries(packed: PackedSet) -> list[Entry]:
    # Equal traits are one tuple, and names are those that the set holds anyway: that halves what an entry takes.
    shared: dict[tuple[str, ...], tuple[str, ...]] = {}
    return [
        Entry(
            task=packed.task,
            file=file,
            photo=row["group"],
            roboflow=row["roboflow"] == "1",
            sha256=row["sha256"],
            pixels=row["pixels"],
            split=row["split"],
            traits=shared.setdefault(traits := _traits(packed, number, row), traits),
            taken=float(row["taken"]) if row["taken"] else None,
            camera=sys.intern(row["camera"]),
        )
        for number, (file, row) in enumerate(zip(packed.files, read_index(packed.folder), strict=True))
    ]


def _traits(packed: PackedSet, number: int, row: dict[str, str]) -> tuple[str, ...]:
    """What the split keeps in proportion; "" is a negative: an empty mask, or no boxes."""
    if packed.task == "classification":
        return (row["label"],)
    if packed.labels is None:
        return ("pan" if float(row["pan_fraction"]) > 0 else "",)
    return tuple(packed.classes[label] for label in sorted(set(packed.labels[number].tolist()))) or ("",)


def _with_task(found: Problem, task: Dataset) -> Problem:
    return Problem(found.code, found.severity, f"{task}/{found.file}", found.reason, found.remedy)


def _task_of(found: Problem) -> str:
    return found.file.split("/")[0]


def _label_conflicts(entries: Sequence[Entry]) -> list[Problem]:
    """The same picture in two classes."""
    same: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        if entry.task == "classification":
            same[entry.pixels].append(entry)
    problems: list[Problem] = []
    for twins in same.values():
        if len({twin.traits for twin in twins}) > 1:
            first = twins[0]
            others = " and ".join(twin.name for twin in twins if twin.traits != first.traits)
            problems.append(problem("label_conflict", first.name, f"is the same picture as {others}"))
    return problems


def _near_conflicts(entries: Sequence[Entry], groups: Groups) -> Iterator[Problem]:
    """Copies of one photo in two classes; a burst may well show a state change."""
    for link in groups.links:
        first, second = entries[link.first], entries[link.second]
        both = first.task == second.task == "classification"
        if both and first.traits != second.traits and link.reason in ("look", "name"):
            yield problem("label_conflict_near", first.name, f"is a copy of {second.name}")


def _copies(entries: Sequence[Entry], groups: Groups) -> Iterator[Problem]:
    """Groups with more than one image of a set, and groups that reach over sets."""
    members: dict[str, list[Entry]] = defaultdict(list)
    for entry, group in zip(entries, groups.names, strict=True):
        members[group].append(entry)
    reasons: dict[str, set[str]] = defaultdict(set)
    for link in groups.links:
        reasons[groups.names[link.first]].add(link.reason)
    for group, found in sorted(members.items()):
        if len(found) < 2:
            continue
        why = " and ".join(sorted(reasons[group]))
        own = Counter(entry.task for entry in found)
        for task in sorted(task for task, count in own.items() if count > 1):
            names = [entry.name for entry in found if entry.task == task]
            yield problem("copies_in_set", names[0], f"belongs together with {_listed(names[1:])} (by {why})")
        if len(own) > 1:
            others = [next(entry.name for entry in found if entry.task == task) for task in sorted(own)]
            yield problem("copies_across_sets", others[0], f"belongs together with {_listed(others[1:])} (by {why})")


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _second_looks(packed: Sequence[PackedSet], entries: Sequence[Entry], groups: Groups) -> Iterator[Problem]:
    """Labels that deserve a second look."""
    for own in packed:
        names = [group for entry, group in zip(entries, groups.names, strict=True) if entry.task == own.task]
        if own.task == "detection":
            yield from suspicious_boxes(own)
        elif own.task == "classification":
            yield from suspicious_states(own, describe_colours(own.images), names)
