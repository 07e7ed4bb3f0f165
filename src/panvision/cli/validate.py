"""`panvision validate`: what is wrong with three labelled datasets, and their split, without DVC."""

import errno
import json
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from panvision.cli.configuration import pins_of, read_configuration
from panvision.cli.exits import Exit
from panvision.cli.failures import UsageError
from panvision.cli.framework import Args, command
from panvision.cli.lock import only_writer
from panvision.cli.options import (
    FILE,
    FOLDER,
    against,
    check_html,
    data_root,
    data_root_of,
    flag,
    html,
    json_flag,
    needs,
    option,
    quiet,
    reviewed,
    reviewed_of,
    settings,
)
from panvision.cli.problem_text import (
    FEW,
    by_severity,
    change_lines,
    count_line,
    count_severities,
    printable,
    problem_lines,
)
from panvision.cli.status import StatusLine

if TYPE_CHECKING:
    from panvision.config import Config
    from panvision.core.tasks import Dataset
    from panvision.dataset.packed import PackedSet
    from panvision.dataset.problems import Problem
    from panvision.dataset.reviewed import Key
    from panvision.report.findings import Finding
    from panvision.report.inputs import DataMetrics
    from panvision.validate.changes import Changes, Version
    from panvision.validate.splits.units import Pins
    from panvision.validate.verdict import Verdict


# A thumbnail of the page can be enlarged by this factor.
ENLARGED = 3


@dataclass(frozen=True)
class Examination:
    """The result of `examine`.

    Attributes:
        images: number of usable images by dataset; an unusable dataset is absent.
        problems: of all datasets; files are `dataset/file`.
        verdict: on the datasets together; None if one of them is unusable.
        changes: what differs from earlier data; None if there is nothing to compare.
        dismissed: problems that a person has dismissed; the page shows them apart.
    """

    images: "Mapping[Dataset, int]"
    problems: "list[Problem]"
    verdict: "Verdict | None"
    changes: "Changes | None" = None
    dismissed: "Collection[Key]" = ()

    @property
    def exit_code(self) -> Exit:
        """ERROR with errors, WARNINGS with warnings, else DONE."""
        counts = count_severities(self.problems)
        return Exit.ERROR if counts["error"] else Exit.WARNINGS if counts["warning"] else Exit.DONE

    @property
    def omission(self) -> str:
        """The checks that an unusable dataset prevents, as text; "" if all were made."""
        from panvision.core.tasks import DATASETS

        missing = [task for task in DATASETS if task not in self.images]
        if not missing:
            return ""
        return (
            f"{' and '.join(missing)} cannot be used; until then copies, splits and suspicious labels are not examined"
        )

    def as_json(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        return {
            "sets": self._sets(),
            "cross_task_groups": None if self.verdict is None else self.verdict.metrics()["cross_task_groups"],
            "problems": [asdict(found) for found in by_severity(self.problems)],
            "counts": count_severities(self.problems),
            **({} if self.changes is None else {"changes": self.changes.to_json()}),
            "exit_code": int(self.exit_code),
        }

    def _sets(self) -> dict[str, Any]:
        if self.verdict is not None:
            metrics = self.verdict.metrics()
            return {task: metrics[task] for task in self.images}
        codes: dict[str, Counter[str]] = defaultdict(Counter)
        for found in self.problems:
            codes[found.file.partition("/")[0]][found.code] += 1
        return {task: {"images": count, "problems": dict(codes[task])} for task, count in self.images.items()}


@command(
    about="Checks three labelled datasets, every image and every label, and shows how they would be split into train, "
    "validation and test. Needs no DVC and no GPU, and writes only what you ask for.",
    examples={
        "check everything": "panvision validate data/demo",
        "a page with images, and the split as a table to edit and pin": "panvision validate data/demo "
        "--html data.html --splits splits.csv",
        "a dataset as Roboflow delivers it": "panvision validate export.zip",
        "what differs from the data of the last commit": "panvision validate data/demo --config params.yaml "
        "--against HEAD --html data.html",
        "for programs, with another seed of the split": "panvision validate data/demo --json --set split.seed=7",
    },
    exits={
        Exit.DONE: "nothing found, or only problems that were fixed in the packed copy",
        Exit.ERROR: "errors; fix them before training",
        Exit.USAGE: "wrong usage, settings or pins",
        Exit.WARNINGS: "warnings",
    },
    sections={
        "arguments": data_root(),
        "settings": [
            *settings("the settings' own defaults"),
            option(
                "--pins",
                "Table of task, file and split: images listed there stay in their split.",
                type=FILE,
                show_default="split.pins where --config or --set gives it",
            ),
            against("an earlier folder or ZIP of the datasets, or a git revision of the pipeline in this folder"),
        ],
        "output": [
            json_flag("sets, cross_task_groups, problems, counts, changes and exit_code"),
            quiet("progress"),
            option("--splits", "Write the split there as such a table, which can be edited and pinned.", type=FILE),
            html(),
            reviewed(),
            flag("--all", f"List every file, not {FEW} of a kind."),
            option(
                "--build",
                "Keep the packed datasets, splits.csv, problems.csv and data.json there.",
                type=FOLDER,
                show_default="a temporary folder, which is removed",
            ),
        ],
    },
)
def run(args: Args) -> int:
    """Examine and print; returns 1 with errors, 3 with warnings."""
    # Imported here, so that `--help` answers at once.
    from panvision.core.params import ParamsError
    from panvision.core.tasks import DATASETS
    from panvision.dataset.packed import PackedError
    from panvision.dataset.problems import IngestError
    from panvision.dataset.reviewed import ReviewedError
    from panvision.experiments.revisions import RevisionError
    from panvision.validate.splits.pins import read_pins

    needs(args, "--html", "reviewed", there=args.html is not None)
    check_html(args)
    try:
        # Read before the long part, so that a wrong table is reported at once.
        dismissed = reviewed_of(args, Path()) if args.html else set()
        config = read_configuration(args)
        if not Path(config.data.root).is_dir() and not _is_zip(config.data.root):
            raise ParamsError(f"{config.data.root}: no such folder; name the one that holds {', '.join(DATASETS)}")
        if args.pins:
            split = config.split.model_copy(update={"pins": args.pins})
            config = config.model_copy(update={"split": split})
        pins = read_pins(args.pins) if args.pins else pins_of(args, config)
        keep = nullcontext(args.build) if args.build else tempfile.TemporaryDirectory(prefix="panvision-")
        with (
            keep as name,
            StatusLine(quiet=args.quiet) as status,
            only_writer(folder := Path(name), "--build"),
            _unpacked(config, status) as config,
            tempfile.TemporaryDirectory(prefix="panvision-") as earlier,
        ):
            with _naming(Path(args.build or tempfile.gettempdir())):
                found = examine(config, pins, folder, status)
                if args.against and found.verdict is not None:
                    version = _earlier(args.against, config, Path(earlier), status)
                    found = _compared(found, folder, version, args.against)
            found = replace(found, dismissed=dismissed)
            _write(args, config, found, folder, Path(earlier), status)
    except (ParamsError, IngestError, PackedError, RevisionError, ReviewedError) as error:
        raise UsageError(str(error)) from error
    _say(json.dumps(found.as_json(), indent=2, ensure_ascii=False) if args.json else _text(found, args))
    return found.exit_code


def _is_zip(root: str) -> bool:
    return Path(root).suffix.lower() == ".zip" and Path(root).is_file()


@contextmanager
def _unpacked(config: "Config", status: StatusLine) -> "Iterator[Config]":
    """Yield the configuration; of a ZIP with its contents as data root, and with the tasks of its datasets.

    Raises:
        IngestError: the ZIP cannot be used.
    """
    from panvision.core.tasks import TASKS
    from panvision.prepare.unzip import unpack_datasets

    if not _is_zip(config.data.root):
        yield config
        return
    with tempfile.TemporaryDirectory(prefix="panvision-") as folder:
        status.show("unpacking …")
        root = unpack_datasets(Path(config.data.root), Path(folder), config.tasks)
        tasks = tuple(task for task in config.tasks if (root / TASKS[task].dataset).is_dir())
        data = config.data.model_copy(update={"root": str(root)})
        yield config.model_copy(update={"data": data, "tasks": tasks})


# Errors of memory and processes, which belong to no folder.
_NO_PLACE = (errno.ENOMEM, errno.EAGAIN)


@contextmanager
def _naming(place: Path) -> Iterator[None]:
    """Name the folder of the packed datasets in an error that has no file, as that of a full disk."""
    try:
        yield
    except OSError as error:
        if error.errno in (None, *_NO_PLACE) or error.filename is not None:
            raise
        reason = f"{error.strerror} for the packed sets (name another folder with --build)"
        raise OSError(error.errno, reason, str(place)) from error


def examine(config: "Config", pins: "Pins", build: Path, status: StatusLine) -> Examination:
    """Prepare and check the three datasets.

    Args:
        config: its `data` and `split` sections are used.
        pins: the split of some images.
        build: receives prepared/, and if all datasets are usable splits.csv, problems.csv and data.json.
        status: shows what is being done.

    Raises:
        IngestError: the pins contradict `config.split`.
        WorkerError: a process that loads images was killed.
        OSError: something cannot be written.
    """
    from panvision.core.tasks import DATASETS
    from panvision.dataset.problems import IngestError, problem
    from panvision.prepare.pack import prepare
    from panvision.validate.verdict import judge, write_verdict

    images: dict[Dataset, int] = {}
    problems: list[Problem] = []
    for task in DATASETS:
        status.show(f"reading {task} …")
        try:
            result = prepare(task, config.data, build / "prepared" / task)
            images[task] = result.images
            problems += [_below(found, task) for found in result.problems]
        except IngestError as error:
            reason = str(error).splitlines()[0].removeprefix(f"{Path(config.data.root) / task}: ")
            problems += [problem("set_unusable", task, reason), *(_below(found, task) for found in error.problems)]
    if len(images) < len(DATASETS):
        return Examination(images, sorted(set(problems)), None)
    status.show("comparing the datasets …")
    order = config.classification.order
    verdict = judge(build / "prepared", config.split, pins, tasks=config.tasks, order=order)
    write_verdict(verdict, build / "splits.csv", build / "problems.csv", build / "data.json")
    return Examination(images, verdict.problems, verdict)


def _earlier(against: str, config: "Config", folder: Path, status: StatusLine) -> "Version":
    """Pack and split an earlier folder or ZIP as the present one, but for its pins; or copy what a revision has.

    Pins are the present data's: with them, an image that they moved would seem to have been there before.

    Raises:
        IngestError: the folder or the ZIP cannot be used.
        RevisionError: the revision cannot be used.
    """
    from panvision.core.tasks import DATASETS
    from panvision.dataset.problems import IngestError
    from panvision.experiments.revisions import packed_at
    from panvision.prepare.pack import prepare
    from panvision.validate.changes import Version
    from panvision.validate.verdict import judge, write_verdict

    if not Path(against).is_dir() and not _is_zip(against):
        status.show(f"fetching {against} …")
        return Version(*packed_at(Path(), against, folder))
    version = Version(folder / "prepared", folder / "splits.csv", supposed=True)
    data = config.data.model_copy(update={"root": against})
    with _unpacked(config.model_copy(update={"data": data}), status) as known:
        images = 0
        for task in DATASETS:
            status.show(f"reading {against}: {task} …")
            images += prepare(task, known.data, version.prepared / task).images
        if not images:
            raise IngestError(f"{against}: has no images; name the folder that holds {', '.join(DATASETS)}")
        verdict = judge(version.prepared, known.split, {}, tasks=known.tasks, order=known.classification.order)
    write_verdict(verdict, version.splits, folder / "problems.csv", folder / "data.json")
    return version


def _compared(found: Examination, build: Path, earlier: "Version", against: str) -> Examination:
    from panvision.dataset.packed import PackedError
    from panvision.validate.changes import Version, find_changes

    try:
        changes = find_changes(earlier, Version(build / "prepared", build / "splits.csv"))
    except PackedError as error:
        # The present data were packed just now.
        raise PackedError(f"{against}: packed by another version; name a folder or ZIP with its data") from error
    return replace(found, changes=changes)


def _below(found: "Problem", task: "Dataset") -> "Problem":
    from panvision.dataset.problems import Problem

    return Problem(found.code, found.severity, f"{task}/{found.file}", found.reason, found.remedy)


def _write(args: Args, config: "Config", found: Examination, build: Path, earlier: Path, status: StatusLine) -> None:
    """Write the requested files; `earlier` has the earlier version, if any."""
    from panvision.core.files import write_text

    if found.verdict is None:
        status.wipe()
        skipped = {"written": args.splits, "compared": args.against}
        for done, name in skipped.items():
            if name:
                print(f"panvision validate: {name}: not {done}, because no split was made", file=sys.stderr)
    elif args.splits:
        write_text(args.splits, (build / "splits.csv").read_text(encoding="utf-8"))
    if args.html:
        status.show("drawing the page …")
        write_text(args.html, _page(args, config, found, build, earlier))


def _counts(path: Path, config: "Config", packed: "list[PackedSet]") -> "DataMetrics":
    """Read data.json, with the classes in their order; one that does not fit is a problem of the data."""
    from panvision.core.order import find_order
    from panvision.report.inputs import DataMetrics, read_metrics

    classes: dict[Dataset, Sequence[str]] = {own.task: own.classes for own in packed}
    with suppress(ValueError):
        order = find_order(config.classification.order, classes["classification"])
        classes["classification"] = order or classes["classification"]
    return read_metrics(path, DataMetrics).in_order(classes)


def _page(args: Args, config: "Config", found: Examination, build: Path, earlier: Path) -> str:
    from panvision.core.tasks import DATASETS
    from panvision.dataset.packed import open_packed
    from panvision.report.archive import Archive
    from panvision.report.changes import draw_changes
    from panvision.report.data_page import build_data_page

    checked = found.verdict is not None
    packed = [open_packed(build / "prepared" / task, task) for task in found.images]
    archive = Archive.open(packed, build / "splits.csv" if checked else None, config.data, enlarged=ENLARGED)
    limit = config.report.data_images
    changes: list[Finding] = []
    if found.changes is not None:
        before = [open_packed(earlier / "prepared" / task, task) for task in DATASETS]
        old = Archive.open(before, earlier / "splits.csv", config.data)
        changes = draw_changes(found.changes.changes, old, archive, limit)
    return build_data_page(
        found.problems,
        archive,
        _counts(build / "data.json", config, packed) if checked else found.omission,
        limit=limit,
        changes=changes,
        name=Path(data_root_of(args)).resolve().name,
        dismissed=found.dismissed,
    )


def _text(found: Examination, args: Args) -> str:
    """Return the metrics, the changes, the problems, and the problems' counts."""
    limit = None if args.all else FEW
    if found.verdict is not None:
        lines = [printable(line) for line in found.verdict.table().splitlines()]
    else:
        lines = [f"{task:32}{count:>8} images" for task, count in found.images.items()]
        lines += ["", *(f"{found.omission}.").split("\n")]
    if found.changes is not None:
        lines += ["", *map(printable, found.changes.table(args.against))]
        lines += change_lines(found.changes.changes, limit=limit)
    lines += problem_lines(found.problems, limit=limit)
    return "\n".join([*lines, "", count_line(found.problems)])


def _say(text: str) -> None:
    """Print in the terminal's encoding, and escape what it lacks."""
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding))
