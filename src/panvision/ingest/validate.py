"""The three packed sets judged together: errors stop here, then one split over all of them."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from panvision.files import write_json, write_rows
from panvision.ingest.groups import Entry, join_groups
from panvision.ingest.packed import SPLIT_COLUMNS, SPLITS, TASKS, PackedError, PackedSet, Task, open_packed, read_index
from panvision.ingest.problems import IngestError, Problem, describe, problem, read_problems
from panvision.ingest.settings import SplitSettings
from panvision.ingest.splits import Assignment, assign_splits


@dataclass(frozen=True)
class Verdict:
    """What validate found and decided.

    Attributes:
        entries: every image of every set, by task and file.
        groups: the group of each.
        assignment: the split of each, and the problems of the split.
        problems: every problem, of prepare and of the sets together.
    """

    entries: list[Entry]
    groups: list[str]
    assignment: Assignment
    problems: list[Problem]

    def metrics(self) -> dict[str, Any]:
        """The contents of metrics/data.json."""
        tasks_of: dict[str, set[str]] = defaultdict(set)
        for entry, group in zip(self.entries, self.groups, strict=True):
            tasks_of[group].add(entry.task)
        figures: dict[str, Any] = {task: self._task_metrics(task) for task in TASKS}
        figures["problems"] = dict(Counter(found.code for found in self.problems))
        figures["cross_task_groups"] = sum(len(tasks) > 1 for tasks in tasks_of.values())
        return figures

    def _task_metrics(self, task: Task) -> dict[str, Any]:
        rows = [row for row, entry in enumerate(self.entries) if entry.task == task]
        splits = Counter(self.assignment.splits[row] for row in rows)
        classes = sorted({trait for row in rows for trait in self.entries[row].traits if trait})
        counts = Counter(
            (trait, self.assignment.splits[row]) for row in rows for trait in self.entries[row].traits if trait
        )
        return {
            "images": len(rows),
            "groups": len({self.groups[row] for row in rows}),
            **{split: splits[split] for split in SPLITS},
            "classes": {name: {split: counts[name, split] for split in SPLITS} for name in classes},
        }

    def table(self) -> str:
        """The figures as text, at most 80 columns."""
        figures = self.metrics()
        lines = [f"{'':32}{'images':>8}{'groups':>8}" + "".join(f"{split:>8}" for split in SPLITS)]
        for task in TASKS:
            own = figures[task]
            numbers = (own["images"], own["groups"], *(own[split] for split in SPLITS))
            lines.append(f"{task:32}" + "".join(f"{number:>8}" for number in numbers))
            for name, counts in own["classes"].items():
                total = sum(counts.values())
                label = name if len(name) <= 28 else f"{name[:27]}…"
                lines.append(f"  {label:30}{total:>8}{'':8}" + "".join(f"{counts[split]:>8}" for split in SPLITS))
        lines.append(f"photos in more than one set: {figures['cross_task_groups']}")
        severities = {found.code: found.severity for found in self.problems}
        lines += [f"{severities[code]:8}{code:32}{count:>8}" for code, count in sorted(figures["problems"].items())]
        return "\n".join(lines)


def judge(prepared: str | Path, settings: SplitSettings) -> Verdict:
    """Check the packed sets together and split them.

    Args:
        prepared: the folder with one packed set per task.
        settings: the `split` section.

    Raises:
        IngestError: errors in the raw data, each with file, reason and remedy, or a set that cannot be split.
        PackedError: a packed set is missing or damaged.
    """
    prepared = Path(prepared)
    entries: list[Entry] = []
    problems: list[Problem] = []
    for task in TASKS:
        packed = open_packed(prepared / task, task)
        try:
            entries += _entries(packed)
            problems += [_with_task(found, task) for found in read_problems(packed.folder / "problems.csv")]
        except (FileNotFoundError, KeyError) as error:
            remedy = f"run `python stages/prepare.py {task}` again"
            raise PackedError(f"{packed.folder}: incomplete ({error}); {remedy}") from error
    problems += _label_conflicts(entries)
    errors = [found for found in problems if found.severity == "error"]
    if errors:
        listed = describe(errors, more=f", see {prepared.as_posix()}/*/problems.csv")
        count = f"{len(errors)} errors" if len(errors) > 1 else "1 error"
        raise IngestError(f"{listed}\n{count} in the raw data; nothing is trained until they are mended")
    groups = join_groups(entries, settings.near_duplicate_bits)
    assignment = assign_splits(entries, groups, settings)
    return Verdict(entries, groups, assignment, [*problems, *assignment.problems])


def write_verdict(verdict: Verdict, splits: str | Path, metrics: str | Path) -> None:
    """Write splits.csv (sorted by task and file) and data.json."""
    rows = sorted(
        (entry.task, entry.file, group, split)
        for entry, group, split in zip(verdict.entries, verdict.groups, verdict.assignment.splits, strict=True)
    )
    write_rows(splits, SPLIT_COLUMNS, rows)
    write_json(metrics, verdict.metrics())


def _entries(packed: PackedSet) -> list[Entry]:
    return [
        Entry(
            task=packed.task,
            file=row["file"],
            photo=row["group"],
            roboflow=row["roboflow"] == "1",
            sha256=row["sha256"],
            pixels=row["pixels"],
            phash=row["phash"],
            split=row["split"],
            traits=_traits(packed, number, row),
        )
        for number, row in enumerate(read_index(packed.folder))
    ]


def _traits(packed: PackedSet, number: int, row: dict[str, str]) -> tuple[str, ...]:
    """What the split keeps in proportion; "" is a negative: an empty mask, or no boxes."""
    if packed.task == "classification":
        return (row["label"],)
    if packed.labels is None:
        return ("pan" if float(row["pan_fraction"]) > 0 else "",)
    return tuple(packed.classes[label] for label in sorted(set(packed.labels[number].tolist()))) or ("",)


def _with_task(found: Problem, task: Task) -> Problem:
    return Problem(found.code, found.severity, f"{task}/{found.file}", found.reason, found.remedy)


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
            others = " and ".join(twin.file for twin in twins if twin.traits != first.traits)
            problems.append(
                problem("label_conflict", f"classification/{first.file}", f"is the same picture as {others}")
            )
    return problems
