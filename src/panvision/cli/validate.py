"""`panvision validate`: what is wrong with three labelled sets, and how they would be split, without DVC."""

import argparse
import errno
import importlib.util
import json
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from panvision.cli.configuration import pins_of, read_configuration
from panvision.cli.exits import Exit
from panvision.cli.failures import UsageError
from panvision.cli.flags import FILE, FOLDER, add_data_root, add_output, add_settings, completed
from panvision.cli.lock import only_writer
from panvision.cli.manual import Manual
from panvision.cli.problem_text import FEW, by_severity, count_line, count_severities, printable, problem_lines
from panvision.cli.status import StatusLine

if TYPE_CHECKING:
    from panvision.config import Config
    from panvision.core.tasks import Dataset
    from panvision.dataset.problems import Problem
    from panvision.prepare.load import Loaded
    from panvision.validate.splits.units import Pins
    from panvision.validate.verdict import Verdict

MANUAL = Manual(
    usage="DATA_ROOT",
    about="Checks three labelled sets, every picture and every label, and shows how they would be split into train, "
    "validation and test. Needs no DVC and no GPU; nothing is written unless it is asked for.",
    examples={
        "look at everything": "panvision validate data/demo",
        "a page with pictures, and the split as a table to edit and pin": "panvision validate data/demo "
        "--html data.html --splits splits.csv",
        "for programs, with another seed of the split": "panvision validate data/demo --json --set split.seed=7",
    },
    exits={
        Exit.DONE: "nothing, or only what was fixed in the packed copy",
        Exit.ERROR: "errors, over which nothing is trained",
        Exit.USAGE: "wrong usage, settings or pins",
        Exit.WARNINGS: "warnings",
    },
)


@dataclass(frozen=True)
class Examination:
    """What was found.

    Attributes:
        images: usable pictures of each set; a set that cannot be used at all is not among them.
        problems: of all sets; files are `task/file`.
        verdict: on the sets together; None if one of them cannot be used.
    """

    images: "Mapping[Dataset, int]"
    problems: "list[Problem]"
    verdict: "Verdict | None"

    @property
    def exit_code(self) -> Exit:
        """DONE, ERROR with errors, WARNINGS with warnings."""
        counts = count_severities(self.problems)
        return Exit.ERROR if counts["error"] else Exit.WARNINGS if counts["warning"] else Exit.DONE

    @property
    def omission(self) -> str:
        """What was not looked at because a set cannot be used; "" if nothing was left out."""
        from panvision.core.tasks import DATASETS

        lacking = [task for task in DATASETS if task not in self.images]
        if not lacking:
            return ""
        return (
            f"{' and '.join(lacking)} cannot be used; until then copies, splits and labels worth a second look are "
            "not examined"
        )

    def as_json(self) -> dict[str, Any]:
        """All of it as plain values."""
        return {
            "sets": self._sets(),
            "cross_task_groups": None if self.verdict is None else self.verdict.metrics()["cross_task_groups"],
            "problems": [asdict(found) for found in by_severity(self.problems)],
            "counts": count_severities(self.problems),
            "exit_code": int(self.exit_code),
        }

    def _sets(self) -> dict[str, Any]:
        if self.verdict is not None:
            figures = self.verdict.metrics()
            return {task: figures[task] for task in self.images}
        codes: dict[str, Counter[str]] = defaultdict(Counter)
        for found in self.problems:
            codes[found.file.partition("/")[0]][found.code] += 1
        return {task: {"images": count, "problems": dict(codes[task])} for task, count in self.images.items()}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `panvision validate`."""
    add_data_root(parser)
    settings = add_settings(parser, "the settings' own defaults")
    output = add_output(parser, "sets, cross_task_groups, problems, counts and exit_code", quiet="progress")
    files = {
        "--pins": (settings, "table of task, file and split: what it names stays there (default: split.pins where "
        "--config or --set gives it)"),
        "--splits": (output, "write the split there as such a table, which can be edited and pinned"),
        "--html": (output, "write a page with pictures of what was found"),
    }  # fmt: skip
    for name, (group, text) in files.items():
        completed(group.add_argument(name, metavar="FILE", help=text), FILE)
    output.add_argument("--all", action="store_true", help=f"list every file, not {FEW} of a kind")
    text = (
        "keep the packed sets, splits.csv, problems.csv and data.json there (default: in the system's folder for "
        "temporary files, and removed)"
    )
    completed(output.add_argument("--build", metavar="DIR", help=text), FOLDER)


def run(args: argparse.Namespace) -> int:
    """Examine; returns 0, 1 with errors, or 3 with warnings."""
    # Here rather than above, so that `--help` answers at once.
    from panvision.core.params import ParamsError
    from panvision.core.tasks import DATASETS
    from panvision.dataset.problems import IngestError
    from panvision.validate.splits.pins import read_pins

    try:
        if args.html and importlib.util.find_spec("jinja2") is None:
            raise ParamsError("--html needs jinja2; `pip install jinja2`")
        config = read_configuration(args)
        if not Path(config.data.root).is_dir():
            raise ParamsError(f"{config.data.root}: no such folder; name the one that holds {', '.join(DATASETS)}")
        if args.pins:
            split = config.split.model_copy(update={"pins": args.pins})
            config = config.model_copy(update={"split": split})
        pins = read_pins(args.pins) if args.pins else pins_of(args, config)
        keep = nullcontext(args.build) if args.build else tempfile.TemporaryDirectory(prefix="panvision-")
        with keep as name, StatusLine(quiet=args.quiet) as status, only_writer(folder := Path(name), "--build"):
            with _naming(Path(args.build or tempfile.gettempdir())):
                found = examine(config, pins, folder, status)
            _write(args, config, found, folder, status)
    except (ParamsError, IngestError) as error:
        raise UsageError(str(error)) from error
    _say(json.dumps(found.as_json(), indent=2, ensure_ascii=False) if args.json else _text(found, every=args.all))
    return found.exit_code


# Said of memory and of processes, which no place has.
_NO_PLACE = (errno.ENOMEM, errno.EAGAIN)


@contextmanager
def _naming(place: Path) -> Iterator[None]:
    """A full disk names no file; the folder that the packed sets go to may be another than anybody thinks of."""
    try:
        yield
    except OSError as error:
        if error.errno in (None, *_NO_PLACE) or error.filename is not None:
            raise
        reason = f"{error.strerror} for the packed sets (--build names another place)"
        raise OSError(error.errno, reason, str(place)) from error


def examine(config: "Config", pins: "Pins", build: Path, status: StatusLine) -> Examination:
    """Prepare and judge the three sets.

    Args:
        config: whose `data` and `split` sections hold.
        pins: where some images stay.
        build: receives prepared/, and if all sets can be used splits.csv, problems.csv and data.json.
        status: says what is being done.

    Raises:
        IngestError: pins that cannot be kept together with `config.split`.
        WorkerError: a process that loads images was killed.
        OSError: something cannot be written.
    """
    from panvision.core.tasks import DATASETS
    from panvision.dataset.problems import IngestError
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
            problems += _unusable(task, config, error)
    if len(images) < len(DATASETS):
        return Examination(images, sorted(set(problems)), None)
    status.show("comparing the sets …")
    verdict = judge(build / "prepared", config.split, pins)
    write_verdict(verdict, build / "splits.csv", build / "problems.csv", build / "data.json")
    return Examination(images, verdict.problems, verdict)


def _unusable(task: "Dataset", config: "Config", error: Exception) -> "list[Problem]":
    """A set that cannot be used as problems: prepare says why, and leaves nothing behind that lists the faults."""
    from panvision.dataset.problems import problem
    from panvision.prepare.formats.readers import read_set
    from panvision.prepare.workers import load_samples

    root = Path(config.data.root) / task
    reason = str(error).splitlines()[0].removeprefix(f"{root}: ")
    problems = [problem("set_unusable", task, reason)]
    if root.is_dir():
        reading = read_set(task, root)
        problems += [_below(found, task) for found in reading.problems]
        problems += [_below(found, task) for found in load_samples(reading.samples, root, config.data, _problems)]
    return problems


def _problems(_first: int, samples: "Iterable[Loaded]") -> "list[Problem]":
    """What is kept of samples of which only the faults are told."""
    return [found for loaded in samples for found in loaded.problems]


def _below(found: "Problem", task: "Dataset") -> "Problem":
    from panvision.dataset.problems import Problem

    return Problem(found.code, found.severity, f"{task}/{found.file}", found.reason, found.remedy)


def _write(args: argparse.Namespace, config: "Config", found: Examination, build: Path, status: StatusLine) -> None:
    """The files that were asked for."""
    from panvision.core.files import write_text

    if args.splits:
        if found.verdict is None:
            status.wipe()
            print(f"panvision validate: {args.splits}: not written, for there is no split", file=sys.stderr)
        else:
            write_text(args.splits, (build / "splits.csv").read_text(encoding="utf-8"))
    if args.html:
        status.show("drawing the page …")
        write_text(args.html, _page(config, found, build))


def _page(config: "Config", found: Examination, build: Path) -> str:
    from panvision.dataset.packed import open_packed
    from panvision.report.data_page import build_data_page

    judged = found.verdict is not None
    return build_data_page(
        found.problems,
        [open_packed(build / "prepared" / task, task) for task in found.images],
        splits=build / "splits.csv" if judged else None,
        metrics=build / "data.json" if judged else None,
        data=config.data,
        limit=config.report.data_images,
        missing=found.omission,
    )


def _text(found: Examination, *, every: bool) -> str:
    """The figures, the problems, and how many there are."""
    if found.verdict is not None:
        lines = [printable(line) for line in found.verdict.table().splitlines()]
    else:
        lines = [f"{task:32}{count:>8} images" for task, count in found.images.items()]
        lines += ["", *(f"{found.omission}.").split("\n")]
    lines += problem_lines(found.problems, limit=None if every else FEW)
    return "\n".join([*lines, "", count_line(found.problems)])


def _say(text: str) -> None:
    """Print, whatever the terminal's encoding."""
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding))
