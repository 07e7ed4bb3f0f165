"""The joint check of the three packed datasets: their problems, and one split over all of them."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from panvision.core.files import write_json
from panvision.core.tasks import DATASETS, TASKS, Dataset, Task, datasets_of
from panvision.dataset.descriptors import LookStack
from panvision.dataset.packed import SPLIT_COLUMNS, SPLITS, PackedError, PackedSet, open_packed, read_index
from panvision.dataset.problems import Problem, describe, problem, read_problems, write_problems
from panvision.dataset.tables import write_table
from panvision.validate.checks.fitness import LabelFacts, unfit_datasets
from panvision.validate.checks.locations import boxes_off_grid
from panvision.validate.checks.suspicions import describe_colours, suspicious_boxes, suspicious_states
from panvision.validate.copies.groups import Entry, Groups, join_groups
from panvision.validate.settings import SplitSettings
from panvision.validate.splits.assign import Assignment, assign_splits
from panvision.validate.splits.units import Pins

if TYPE_CHECKING:
    import pandas as pd

# Files that one problem names, and errors that a refusal lists.
_NAMED, _LISTED = 4, 50
_SEVERITIES = ("error", "warning", "fixed")
# Hashes of 64 hex digits: as bytes of a fixed length they are read in a third of the time.
_HASHES = {"sha256": "S64", "pixels": "S64"}


@dataclass(frozen=True)
class Verdict:
    """The result of `validate`.

    Attributes:
        entries: every image of every dataset, by dataset and file.
        groups: which of them show one photo, and why.
        assignment: the split of each, and the problems of the split.
        problems: every problem, of prepare and of the joint check; files are `dataset/file`.
    """

    entries: list[Entry]
    groups: Groups
    assignment: Assignment
    problems: list[Problem]

    @property
    def errors(self) -> list[Problem]:
        """The problems that stop the pipeline."""
        return [found for found in self.problems if found.severity == "error"]

    def all_tested(self) -> "Verdict":
        """Return the same images with all of them in the test split, without the problems of a split."""
        assignment = replace(self.assignment, splits=["test"] * len(self.entries), problems=[])
        problems = [found for found in self.problems if not found.code.startswith("split_")]
        return replace(self, assignment=assignment, problems=problems)

    def refusal(self) -> str:
        """Return the errors, each with its file, reason and remedy; "" if there are none."""
        count = len(self.errors)
        if not count:
            return ""
        listed = describe(self.errors, limit=_LISTED, more="; `panvision validate DATA_ROOT` lists them all")
        return f"{listed}\n{count} error{'s' * (count > 1)} in the raw data; fix them before training"

    def metrics(self) -> dict[str, Any]:
        """Return the contents of metrics/data.json: counts by dataset, class, split and problem code."""
        tasks_of: dict[str, set[str]] = defaultdict(set)
        for entry, group in zip(self.entries, self.groups.names, strict=True):
            tasks_of[group].add(entry.task)
        spanning = {group for group, tasks in tasks_of.items() if len(tasks) > 1}
        return {
            **{task: self._task_metrics(task) for task in DATASETS},
            "problems": dict(Counter(found.code for found in self.problems)),
            "cross_task_groups": len(spanning),
            "cross_task_images": sum(group in spanning for group in self.groups.names),
        }

    def _task_metrics(self, task: Dataset) -> dict[str, Any]:
        rows = [row for row, entry in enumerate(self.entries) if entry.task == task]
        splits = Counter(self.assignment.splits[row] for row in rows)
        counts = Counter(
            (trait, self.assignment.splits[row]) for row in rows for trait in self.entries[row].traits if trait
        )
        return {
            "images": len(rows),
            "groups": len({self.groups.names[row] for row in rows}),
            **{split: splits[split] for split in SPLITS},
            "classes": {
                name: {split: counts[name, split] for split in SPLITS} for name in sorted({name for name, _ in counts})
            },
            "problems": dict(Counter(found.code for found in self.problems if found.file.split("/")[0] == task)),
        }

    def table(self) -> str:
        """Return the metrics as text, at most 80 columns wide."""
        metrics = self.metrics()
        lines = [f"{'':32}{'images':>8}{'groups':>8}" + "".join(f"{split:>8}" for split in SPLITS)]
        for task in DATASETS:
            own = metrics[task]
            numbers = (own["images"], own["groups"], *(own[split] for split in SPLITS))
            lines.append(f"{task:32}" + "".join(f"{number:>8}" for number in numbers))
            for name, counts in own["classes"].items():
                label = name if len(name) <= 28 else f"{name[:27]}…"
                total = sum(counts.values())
                lines.append(f"  {label:30}{total:>8}{'':8}" + "".join(f"{counts[split]:>8}" for split in SPLITS))
        lines.append(
            f"groups that span datasets: {metrics['cross_task_groups']}, with {metrics['cross_task_images']} images"
        )
        severities = {found.code: found.severity for found in self.problems}
        order = sorted(metrics["problems"], key=lambda code: (_SEVERITIES.index(severities[code]), code))
        return "\n".join([*lines, *(f"{severities[code]:8}{code:32}{metrics['problems'][code]:>8}" for code in order)])


def judge(
    prepared: str | Path,
    settings: SplitSettings,
    pins: Pins,
    *,
    tasks: Sequence[Task] = tuple(TASKS),
    order: Sequence[str] | None = None,
) -> Verdict:
    """Check the packed datasets together and split them; problems of the data are returned, not raised.

    Args:
        prepared: the folder with one packed dataset each.
        settings: the `split` section.
        pins: the split of pinned images (`pins.read_pins`).
        tasks: the tasks that are to be trained; their datasets are needed, the others are checked if they are there.
        order: the setting `classification.order`.

    Raises:
        IngestError: pins that cannot be kept together with `settings`.
        PackedError: a packed dataset is missing or damaged.
    """
    packed: list[PackedSet] = []
    entries: list[Entry] = []
    problems: list[Problem] = []
    for task in DATASETS:
        folder = Path(prepared) / task
        index = read_index(folder, task, types=_HASHES)
        packed.append(open_packed(folder, task, index))
        try:
            entries += read_entries(packed[-1], index)
            found = read_problems(folder / "problems.csv")
        except (FileNotFoundError, KeyError, ValueError) as error:
            remedy = f"run `python stages/prepare.py {task}` again"
            raise PackedError(f"{folder}: incomplete ({error}); {remedy}") from error
        problems += [replace(one, file=f"{task}/{one.file}") for one in found]
    broken = {found.file.partition("/")[0] for found in problems if found.severity == "error"}
    facts = [LabelFacts.of(own, broken=own.task in broken) for own in packed]
    groups = join_groups(entries, LookStack([own.looks for own in packed]), settings)
    assignment = assign_splits(entries, groups.names, settings, pins)
    problems += [
        *unfit_datasets(facts, datasets_of(tasks), order),
        *_label_conflicts(entries),
        *_near_conflicts(entries, groups),
        *_copies(entries, groups),
        *assignment.problems,
        *_torn_frames(entries, groups, assignment.splits),
        *_suspicions(packed, entries, groups),
    ]
    return Verdict(entries, groups, assignment, sorted(set(problems)))


def write_verdict(verdict: Verdict, splits: str | Path, problems: str | Path, metrics: str | Path) -> None:
    """Write splits.csv (sorted by dataset and file), problems.csv and data.json."""
    rows = sorted(
        (entry.task, entry.file, group, split)
        for entry, group, split in zip(verdict.entries, verdict.groups.names, verdict.assignment.splits, strict=True)
    )
    write_table(splits, SPLIT_COLUMNS, rows)
    write_problems(Path(problems), verdict.problems)
    write_json(metrics, verdict.metrics())


def read_entries(packed: PackedSet, index: "pd.DataFrame") -> list[Entry]:
    """Return the entries of one dataset.

    Args:
        packed: the dataset.
        index: its index.csv (`read_index`), with hashes as text or as bytes.

    Raises:
        KeyError: the index lacks a column.
        ValueError: it holds text where a number belongs.
    """
    columns = (
        [packed.task] * len(packed),
        packed.files,
        index["group"].tolist(),
        (index["roboflow"] == "1").tolist(),
        index["sha256"].to_numpy().astype("U64").tolist(),
        index["pixels"].to_numpy().astype("U64").tolist(),
        index["split"].tolist(),
        _traits(packed, index),
        [float(text) if text else None for text in index["taken"].tolist()],
        index["camera"].tolist(),
    )
    return list(map(Entry, *columns))


def _traits(packed: PackedSet, index: "pd.DataFrame") -> list[tuple[str, ...]]:
    """Return what the split keeps in proportion; "" is a negative: an empty mask, or no boxes."""
    if packed.task == "classification":
        single = {name: (name,) for name in packed.classes}
        return [single[label] for label in index["label"].tolist()]
    if packed.labels is None:
        return [("pan",) if float(share) > 0 else ("",) for share in index["pan_fraction"].tolist()]
    # Equal traits are one tuple: that halves what an entry takes.
    shared: dict[bytes, tuple[str, ...]] = {}
    for labels in packed.labels:
        if (key := labels.tobytes()) not in shared:
            shared[key] = tuple(packed.classes[label] for label in sorted(set(labels.tolist()))) or ("",)
    return [shared[labels.tobytes()] for labels in packed.labels]


def _label_conflicts(entries: Sequence[Entry]) -> Iterator[Problem]:
    """Find equal images in two classes."""
    same: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        if entry.task == "classification":
            same[entry.pixels].append(entry)
    for first, *rest in same.values():
        others = " and ".join(twin.name for twin in rest if twin.traits != first.traits)
        if others:
            yield problem("label_conflict", first.name, f"is the same image as {others}")


def _near_conflicts(entries: Sequence[Entry], groups: Groups) -> Iterator[Problem]:
    """Find copies of one photo in two classes; a burst may show a change of class."""
    for link in groups.links:
        first, second = entries[link.first], entries[link.second]
        both = first.task == second.task == "classification"
        if both and first.traits != second.traits and link.reason in ("look", "name"):
            yield problem("label_conflict_near", first.name, f"is a copy of {second.name}")


def _copies(entries: Sequence[Entry], groups: Groups) -> Iterator[Problem]:
    """List groups with more than one image of a dataset, and groups that span datasets."""
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
        names: dict[str, list[str]] = defaultdict(list)
        for entry in found:
            names[entry.task].append(entry.name)
        for first, *rest in (own for _, own in sorted(names.items()) if len(own) > 1):
            yield problem("copies_in_set", first, f"belongs together with {_listed(rest)} (by {why})")
        if len(names) > 1:
            first, *rest = (own[0] for _, own in sorted(names.items()))
            yield problem("copies_across_sets", first, f"belongs together with {_listed(rest)} (by {why})")


def _torn_frames(entries: Sequence[Entry], groups: Groups, splits: Sequence[str]) -> Iterator[Problem]:
    """Find neighbouring frames of a video that was too large to stay together, in two splits."""
    for first, second in groups.torn:
        if splits[first] != splits[second]:
            ends = f"{splits[first]}, and {entries[second].name}, a neighbouring frame of the same video,"
            reason = f"is in {ends} in {splits[second]}: together they would be over a third of the dataset"
            yield problem("frames_torn", entries[first].name, reason)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _suspicions(packed: Sequence[PackedSet], entries: Sequence[Entry], groups: Groups) -> Iterator[Problem]:
    """Find suspicious labels."""
    for own in packed:
        names = [group for entry, group in zip(entries, groups.names, strict=True) if entry.task == own.task]
        if own.task == "detection" and len(own):
            yield from suspicious_boxes(own)
            yield from boxes_off_grid(own)
        elif own.task == "classification" and len(own):
            yield from suspicious_states(own, describe_colours(own.images), names)
