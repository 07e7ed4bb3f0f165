"""`panvision validate`: what is wrong with three labelled sets, and how they would be split, without DVC."""

import argparse
import importlib.util
import json
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from panvision.cli.configuration import add_options, pins_of, read_configuration
from panvision.cli.problem_text import FEW, by_severity, count_line, count_severities, printable, problem_lines

if TYPE_CHECKING:
    from panvision.config import Config
    from panvision.ingest.load import Loaded
    from panvision.ingest.packed import Task
    from panvision.ingest.problems import Problem
    from panvision.ingest.units import Pins
    from panvision.ingest.validate import Verdict

EXIT_CODES = """\
exit codes: 0 nothing, or only what was fixed in the packed copy; 1 errors, over
which nothing is trained; 2 wrong usage; 3 warnings
"""


@dataclass(frozen=True)
class Examination:
    """What was found.

    Attributes:
        images: usable pictures of each set; a set that cannot be used at all is not among them.
        problems: of all sets; files are `task/file`.
        verdict: on the sets together; None if one of them cannot be used.
    """

    images: "Mapping[Task, int]"
    problems: "list[Problem]"
    verdict: "Verdict | None"

    @property
    def exit_code(self) -> int:
        """0, 1 with errors, 3 with warnings."""
        counts = count_severities(self.problems)
        return 1 if counts["error"] else 3 if counts["warning"] else 0

    @property
    def omission(self) -> str:
        """What was not looked at because a set cannot be used; "" if nothing was left out."""
        from panvision.ingest.packed import TASKS

        lacking = [task for task in TASKS if task not in self.images]
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
            "exit_code": self.exit_code,
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
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EXIT_CODES
    parser.add_argument(
        "data_root", metavar="DATA_ROOT", help="folder with segmentation/, detection/ and classification/"
    )
    add_options(parser, "the settings' own defaults")
    parser.add_argument(
        "--pins", metavar="FILE", help="table of task, file and split: what it names stays there (default: split.pins "
        "where --config or --set gives it)",
    )  # fmt: skip
    parser.add_argument(
        "--splits", metavar="FILE", help="write the split there as such a table, which can be edited and pinned"
    )
    parser.add_argument("--html", metavar="FILE", help="write a page with pictures of what was found")
    parser.add_argument("--json", action="store_true", help="print the figures and every problem as JSON, nothing else")
    parser.add_argument("--all", action="store_true", help=f"list every file, not {FEW} of a kind")
    parser.add_argument(
        "--build",
        metavar="DIR",
        help="keep the packed sets, splits.csv, problems.csv and data.json there (default: in the system's folder for "
        "temporary files, and removed)",
    )


def run(args: argparse.Namespace) -> int:
    """Examine; returns 0, 1 with errors, 2 if settings or pins cannot be used, or 3 with warnings."""
    # Here rather than above, so that `--help` answers at once.
    from panvision.ingest.packed import PackedError
    from panvision.ingest.pins import read_pins
    from panvision.ingest.problems import IngestError
    from panvision.params import ParamsError

    try:
        if args.html and importlib.util.find_spec("jinja2") is None:
            raise ParamsError("--html needs jinja2; `pip install jinja2`")
        config = read_configuration(args)
        if args.pins:
            split = config.split.model_copy(update={"pins": args.pins})
            config = config.model_copy(update={"split": split})
        pins = read_pins(args.pins) if args.pins else pins_of(args, config)
        keep = nullcontext(args.build) if args.build else tempfile.TemporaryDirectory(prefix="panvision-")
        with keep as folder:
            found = examine(config, pins, Path(folder))
            _write(args, config, found, Path(folder))
    except (ParamsError, IngestError) as error:
        print(f"panvision validate: {error}", file=sys.stderr)
        return 2
    except (PackedError, OSError) as error:
        print(f"panvision validate: {error}", file=sys.stderr)
        return 1
    _say(json.dumps(found.as_json(), indent=2, ensure_ascii=False) if args.json else _text(found, every=args.all))
    return found.exit_code


def examine(config: "Config", pins: "Pins", build: Path) -> Examination:
    """Prepare and judge the three sets.

    Args:
        config: whose `data` and `split` sections hold.
        pins: where some images stay.
        build: receives prepared/, and if all sets can be used splits.csv, problems.csv and data.json.

    Raises:
        IngestError: pins that cannot be kept together with `config.split`.
        OSError: something cannot be written.
    """
    from panvision.ingest.pack import prepare
    from panvision.ingest.packed import TASKS
    from panvision.ingest.problems import IngestError
    from panvision.ingest.validate import judge, write_verdict

    images: dict[Task, int] = {}
    problems: list[Problem] = []
    for task in TASKS:
        _progress(f"reading {task}")
        try:
            result = prepare(task, config.data, build / "prepared" / task)
            images[task] = result.images
            problems += [_below(found, task) for found in result.problems]
        except IngestError as error:
            problems += _unusable(task, config, error)
    if len(images) < len(TASKS):
        _progress("")
        return Examination(images, sorted(set(problems)), None)
    _progress("comparing the sets")
    verdict = judge(build / "prepared", config.split, pins)
    write_verdict(verdict, build / "splits.csv", build / "problems.csv", build / "data.json")
    _progress("")
    return Examination(images, verdict.problems, verdict)


def _unusable(task: "Task", config: "Config", error: Exception) -> "list[Problem]":
    """A set that cannot be used as problems: prepare says why, and leaves nothing behind that lists the faults."""
    from panvision.ingest.problems import IngestError, problem
    from panvision.ingest.readers import read_set
    from panvision.ingest.workers import load_samples

    root = Path(config.data.root) / task
    reason = str(error).splitlines()[0].removeprefix(f"{root}: ")
    problems = [problem("set_unusable", task, reason)]
    if root.is_dir():
        reading = read_set(task, root)
        problems += [_below(found, task) for found in reading.problems]
        try:
            for found in load_samples(reading.samples, root, config.data, _problems):
                problems.append(_below(found, task))
        except IngestError:
            # It is what `error` says.
            pass
    return problems


def _problems(_first: int, samples: "Iterable[Loaded]") -> "list[Problem]":
    """What is kept of samples of which only the faults are told."""
    return [found for loaded in samples for found in loaded.problems]


def _below(found: "Problem", task: "Task") -> "Problem":
    from panvision.ingest.problems import Problem

    return Problem(found.code, found.severity, f"{task}/{found.file}", found.reason, found.remedy)


def _write(args: argparse.Namespace, config: "Config", found: Examination, build: Path) -> None:
    """The files that were asked for."""
    from panvision.files import write_text

    if args.splits:
        if found.verdict is None:
            print(f"panvision validate: {args.splits}: not written, for there is no split", file=sys.stderr)
        else:
            write_text(args.splits, (build / "splits.csv").read_text(encoding="utf-8"))
    if args.html:
        _progress("drawing the page")
        write_text(args.html, _page(config, found, build))
        _progress("")


def _page(config: "Config", found: Examination, build: Path) -> str:
    from panvision.ingest.packed import open_packed
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


def _progress(text: str) -> None:
    """What is being done, on a terminal, in place of what stood there before."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text + ' …' if text else ''}", end="", file=sys.stderr, flush=True)
