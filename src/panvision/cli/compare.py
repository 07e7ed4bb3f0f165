"""`panvision compare`: is one revision's model better than another's, or is the difference noise?"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from panvision.cli.exits import Exit
from panvision.cli.flags import add_json, add_project, project_of, whole_number
from panvision.cli.manual import Manual
from panvision.experiments.differing import WORKSPACE, cut, differing, params_of, shown

if TYPE_CHECKING:
    from panvision.evaluation.results import Results
    from panvision.experiments.paired import Comparison, Difference

FOLDER = "reports/results"
EXPLANATION = (
    "Difference: second less first, with its 95 % interval over the same resampled groups of test images. One figure "
    "in twenty leaves its interval by chance alone: trust figures that you named before."
)


class CompareError(ValueError):
    """A revision cannot be compared; the message names it and the remedy."""


MANUAL = Manual(
    usage="REV_A [REV_B]",
    about="Scores two models on the same resampled groups of test pictures, from the results that DVC keeps of each, "
    "and says which differences are more than noise, and in which params the two runs differ. Nothing is checked out.",
    examples={
        "the workspace against the last commit": "panvision compare HEAD",
        "two experiments": "panvision compare lunar-mask solid-pan",
        "for a pull request, or for programs": "panvision compare main HEAD --markdown",
    },
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `panvision compare`."""
    arguments = parser.add_argument_group("arguments")
    arguments.add_argument("one", metavar="REV_A", help="git revision, DVC experiment, or `workspace`")
    arguments.add_argument(
        "other", metavar="REV_B", nargs="?", default=WORKSPACE, help="likewise (default: %(default)s)"
    )
    add_project(parser)
    intervals = parser.add_argument_group("intervals")
    intervals.add_argument(
        "--resamples", type=whole_number(1), default=1000, metavar="N", help="bootstrap sets (default: %(default)s)"
    )
    intervals.add_argument(
        "--seed",
        type=whole_number(0, 2**32 - 1),
        default=0,
        metavar="N",
        help="of their draws, 0 to 4294967295 (default: %(default)s)",
    )
    output = parser.add_argument_group("output").add_mutually_exclusive_group()
    add_json(output, "one, other, params, resamples, seed and tasks")
    output.add_argument("--markdown", action="store_true", help="print Markdown, as for a pull request")


def run(args: argparse.Namespace) -> int:
    """Print the comparison; returns 0."""
    from panvision.core.tasks import TASKS
    from panvision.experiments.paired import compare_results, to_json

    project = project_of(args)
    one, other = (results_of(project, rev) for rev in (args.one, args.other))
    found = [compare_results(one[task], other[task], resamples=args.resamples, seed=args.seed) for task in TASKS]
    params = differing(params_of(project, args.one), params_of(project, args.other))
    if args.json:
        tasks = {each.task: to_json(each) for each in found}
        settings = {"one": args.one, "other": args.other, "resamples": args.resamples, "seed": args.seed}
        described = {**settings, "params": params, "tasks": tasks}
        print(json.dumps(described, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False))
    else:
        print((markdown if args.markdown else text)(args.one, args.other, found, params))
    return Exit.DONE


def results_of(project: Path, rev: str) -> "dict[str, Results]":
    """Every task's results at a revision; the workspace is only read.

    Raises:
        CompareError: no such revision, or its results are not there.
        ResultsError: they are there, but damaged or of another version.
    """
    from panvision.core.tasks import TASKS
    from panvision.evaluation.results import parse_results, read_results

    if rev == WORKSPACE:
        return {task: read_results(project / FOLDER / f"{task}.json") for task in TASKS}
    from dvc.api import DVCFileSystem
    from dvc.exceptions import DvcException

    try:
        files = DVCFileSystem(str(project), rev=rev)
        known = {path.rsplit("/", 1)[-1] for path in files.ls(FOLDER, detail=False)} if files.isdir(FOLDER) else set()
    except DvcException as error:
        raise CompareError(
            f"{rev}: no git revision and no DVC experiment of {project.resolve().name} ({error}); see `git log` and "
            "`dvc exp list --all-commits`, fetch others' with `git fetch` or `dvc exp pull`"
        ) from error
    found: dict[str, Results] = {}
    for task in TASKS:
        name = f"{rev}:{FOLDER}/{task}.json"
        if f"{task}.json" not in known:
            raise CompareError(
                f"{name}: not in that revision; it was evaluated before per-image results were kept: check it out, run "
                "`dvc repro evaluate` with this version and commit"
            )
        try:
            content = files.read_text(f"{FOLDER}/{task}.json", encoding="utf-8")
        except (OSError, DvcException) as error:
            raise CompareError(
                f"{name}: is neither in the cache nor in a remote; run `dvc fetch --all-commits evaluate`, or push it "
                "from where it was made with `dvc push` (an experiment: `dvc exp push`)"
            ) from error
        found[task] = parse_results(content, name)
    return found


# What `differing` finds.
Params = dict[str, dict[str, Any]] | None


def text(one: str, other: str, found: "Sequence[Comparison]", params: Params = None) -> str:
    """The comparison as tables to be read in a terminal."""
    widths = max((len(each.name) for task in found for each in task.differences), default=6) + 2
    lines = [summary(found), "", *_params_text(one, other, params)]
    for task in found:
        lines.append(f"{task.task}: {described(task)}")
        if task.differences:
            lines.append(f"  {'figure':<{widths}}{_short(one):<12}{_short(other):<12}{'difference':<12}95 % interval")
        for each in task.differences:
            first, second, gap, interval = cells(each)
            lines.append(f"  {each.name:<{widths}}{first:<12}{second:<12}{gap:<12}{interval:<20}{each.verdict}")
        lines.append("")
    return "\n".join([*lines, EXPLANATION])


def _params_text(one: str, other: str, params: Params) -> list[str]:
    if params is None:
        return []
    width, first = (max((len(cell) for cell in cells), default=0) + 2 for cells in (params, _firsts(one, params)))
    lines = [f"params: {_how_many(params)}"]
    if params:
        lines.append(f"  {'key':<{width}}{_short(one):<{first}}{_short(other)}")
    for key, sides in params.items():
        before, after = shown(sides)
        lines.append(f"  {key:<{width}}{before:<{first}}{after}")
    return [*lines, ""]


def _firsts(one: str, params: dict[str, dict[str, Any]]) -> list[str]:
    """The cells of the first revision's column."""
    return [_short(one), *(shown(sides)[0] for sides in params.values())]


def _how_many(params: dict[str, dict[str, Any]]) -> str:
    return f"{len(params)} differ{'s' if len(params) == 1 else ''}" if params else "the same in both"


def markdown(one: str, other: str, found: "Sequence[Comparison]", params: Params = None) -> str:
    """The comparison as Markdown."""
    lines = [f"**{summary(found)}**"]
    if params is not None:
        lines += ["", f"params: {_how_many(params)}"]
    if params:
        lines += ["", f"| key | {_cell(one)} | {_cell(other)} |", "|---|---|---|"]
    for key, sides in (params or {}).items():
        lines.append("| " + " | ".join(_cell(cell) for cell in (key, *shown(sides))) + " |")
    for task in found:
        lines += ["", f"{task.task}: {described(task)}"]
        if task.differences:
            lines += [
                "",
                f"| figure | {_cell(one)} | {_cell(other)} | difference | 95 % interval | |",
                "|---" * 6 + "|",
            ]
        for each in task.differences:
            verdict = f"**{each.verdict}**" if each.verdict in ("better", "worse") else each.verdict
            lines.append("| " + " | ".join([_cell(each.name), *cells(each), verdict]) + " |")
    return "\n".join([*lines, "", EXPLANATION])


def summary(found: "Sequence[Comparison]") -> str:
    """In one sentence what is more than noise."""
    told = {
        verdict: [f"{task.task} {each.name}" for task in found for each in task.differences if each.verdict == verdict]
        for verdict in ("better", "worse")
    }
    if not any(task.differences for task in found):
        return "There is nothing to compare."
    if not any(told.values()):
        return "No difference is more than noise."
    parts = [f"{verdict}: {', '.join(names)}" for verdict, names in told.items() if names]
    return f"More than noise: {'; '.join(parts)}. All else is within noise."


def described(task: "Comparison") -> str:
    """What the figures of one task rest on."""
    if not task.trained:
        # A model without the task was scored on no picture: there are no two test sets that could differ.
        return f"not compared: {task.remark}"
    parts = [f"{task.images} common test images in {task.groups} groups"]
    if task.only_one or task.only_other:
        parts.append(
            f"the test sets differ: {task.only_one} images only in the first, {task.only_other} only in the second, "
            "which do not count here"
        )
    if task.relabelled:
        parts.append(f"{task.relabelled} images bear other labels, and each model is held to its own")
    if task.remark:
        parts.append(f"not compared: {task.remark}")
    return "; ".join(parts)


def cells(each: "Difference") -> tuple[str, str, str, str]:
    """Both figures, difference and interval as text."""

    def shown(value: float | None, form: str) -> str:
        return "undefined" if value is None else format(value, form)

    interval = "" if each.low is None else f"{each.low:+.3f} to {each.high:+.3f}"
    return shown(each.one, ".3f"), shown(each.other, ".3f"), shown(each.difference, "+.3f"), interval


def _short(rev: str) -> str:
    return cut(rev, 10)


def _cell(value: str) -> str:
    return value.replace("|", "\\|")
