"""Pins: a table of images that stay in a split when others are added or linked to them."""

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from panvision.core.tasks import DATASETS, Dataset
from panvision.dataset.packed import SPLITS, Split
from panvision.dataset.paths import SPLIT_FOLDERS, photo_name
from panvision.dataset.problems import IngestError, Problem, problem
from panvision.validate.copies.groups import Entry
from panvision.validate.splits.units import Pins

PIN_COLUMNS = ("task", "file", "split")

# Faulty lines and unknown pins that a message lists one by one.
_MOST_FAULTS = 50
_MOST_UNKNOWN = 5


def read_pins(path: str | Path) -> dict[tuple[Dataset, str], Split]:
    """Read a pins file, such as build/splits.csv or a spreadsheet's export of it.

    Commas, semicolons or tabs between the cells, any line ends, a byte order mark, blank lines, spaces around
    cells, further columns, and a split by any name of a folder (`valid`) are accepted. The header alone pins nothing.

    Raises:
        IngestError: the file is missing or unreadable, or lines cannot be used; all of them are listed.
    """
    lines = list(io.StringIO(_text(Path(path)), newline=""))
    blank = next((number for number, line in enumerate(lines) if line.strip()), len(lines))
    delimiter = max(",;\t", key="".join(lines[blank : blank + 1]).count)
    reader = csv.DictReader(lines[blank:], restval="", delimiter=delimiter, skipinitialspace=True, strict=True)
    pins: dict[tuple[Dataset, str], Split] = {}
    faults: list[str] = []
    try:
        reader.fieldnames = [column.strip().lower() for column in reader.fieldnames or ()]
        missing = [column for column in PIN_COLUMNS if column not in reader.fieldnames]
        twice = [column for column in PIN_COLUMNS if reader.fieldnames.count(column) > 1]
        if missing:
            faults.append(f"the first line must name the columns task, file and split; it lacks {', '.join(missing)}")
        elif twice:
            faults.append(f"the first line names the column {twice[0]} twice")
        else:
            _parse(((blank + reader.line_num, row) for row in reader), pins, faults)
    except csv.Error as error:
        faults.append(f"line {blank + reader.reader.line_num}: {error}")  # where it stopped, not the last whole one
    if faults:
        more = [f"and {len(faults) - _MOST_FAULTS} more"] if len(faults) > _MOST_FAULTS else []
        listed = "\n  ".join([*faults[:_MOST_FAULTS], *more])
        raise IngestError(f"{path}: pins (split.pins) that cannot be used; correct or remove them\n  {listed}")
    return pins


def follow_exports(entries: Sequence[Entry], pins: Pins) -> Pins:
    """Apply the pins of files that Roboflow has exported again under other names to the new files.

    Roboflow names each export of `pan.jpg` by another hash (`pan_jpg.rf.<hash>.jpg`). A pin of a file that its dataset
    no longer has pins all files of the same photo, except those with their own pin.
    """
    files = {(entry.task, entry.file) for entry in entries}
    photos: dict[tuple[Dataset, str], list[tuple[Dataset, str]]] = defaultdict(list)
    for entry in entries:
        if entry.roboflow:
            photos[entry.task, entry.photo].append((entry.task, entry.file))
    followed = dict(pins)
    for (task, file), split in sorted(pins.items()):
        photo, roboflow = photo_name(file)
        if roboflow and (task, file) not in files and (task, photo) in photos:
            del followed[task, file]
            for key in photos[task, photo]:
                followed.setdefault(key, split)
    return followed


def unknown_pins(entries: Sequence[Entry], pins: Pins, path: str) -> list[Problem]:
    """Report pins of images that no dataset has, up to five one by one."""
    unknown = sorted(pins.keys() - {(entry.task, entry.file) for entry in entries})
    if len(unknown) <= _MOST_UNKNOWN:
        return [problem("pin_unknown", path, f"pins {task}/{file}, which is in no dataset") for task, file in unknown]
    first = ", ".join(f"{task}/{file}" for task, file in unknown[:_MOST_UNKNOWN])
    return [problem("pin_unknown", path, f"pins {len(unknown)} images that are in no dataset: {first}, …")]


def moved_pins(entries: Sequence[Entry], groups: Sequence[str], splits: Sequence[str], pins: Pins) -> list[Problem]:
    """Report pinned images that did not stay, each with the cause."""
    pinned = {row: pins[key] for row, entry in enumerate(entries) if (key := (entry.task, entry.file)) in pins}
    moved = [row for row, pin in pinned.items() if splits[row] != pin]
    members: dict[str, list[int]] = defaultdict(list)
    affected = {groups[row] for row in moved}
    for row, group in enumerate(groups):
        if group in affected:
            members[group].append(row)
    problems: list[Problem] = []
    for row in moved:
        change = f"is pinned to {pinned[row]} and goes to {splits[row]}"
        if entries[row].split:
            cause = f"its own folder or list is {entries[row].split}"
        else:
            others = [other for other in members[groups[row]] if other != row and splits[other] == splits[row]]
            # Name an image that its folder keeps there, else a new one, which made the link.
            link = min(others, key=lambda other: (not entries[other].split, other in pinned, entries[other].name))
            cause = f"it is of one group with {entries[link].name}"
        problems.append(problem("group_moved", entries[row].name, f"{change}: {cause}"))
    return problems


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError as error:
        remedy = f"the file that split.pins names; to pin nothing, write one line into it: {','.join(PIN_COLUMNS)}"
        raise IngestError(f"{path}: missing, {remedy}") from error
    except OSError as error:
        raise IngestError(f"{path}: split.pins cannot be read ({error.strerror}); it must be a CSV file") from error
    except UnicodeDecodeError as error:
        remedy = "save it from the spreadsheet as `CSV UTF-8`"
        raise IngestError(f"{path}: split.pins is not UTF-8 text; {remedy}") from error


def _parse(
    rows: Iterable[tuple[int, dict[str, str]]], pins: dict[tuple[Dataset, str], Split], faults: list[str]
) -> None:
    """Add numbered lines to the pins, or to the faults."""
    lines: dict[tuple[Dataset, str], int] = {}
    for line, row in rows:
        task, file, split = (row[column].strip() for column in PIN_COLUMNS)
        known_task = next((known for known in DATASETS if known == task.lower()), None)
        known_split = next((known for known in SPLITS if known == SPLIT_FOLDERS.get(split.lower())), None)
        if known_task and known_split and file:
            key = known_task, file
            first = lines.setdefault(key, line)
            if pins.setdefault(key, known_split) != known_split:
                faults.append(f"lines {first} and {line}: {known_task}/{file} is pinned to different splits")
        elif task or file or split:
            faults.append(f"line {line}: {_fault(task, file, split)}")


def _fault(task: str, file: str, split: str) -> str:
    faults = [] if file else ["no file"]
    if task.lower() not in DATASETS:
        faults.append(f"unknown task {task!r} (one of {', '.join(DATASETS)})")
    if split.lower() not in SPLIT_FOLDERS:
        faults.append(f"unknown split {split!r} (one of {', '.join(SPLITS)})")
    return "; ".join(faults)
