"""`panvision folds`: metrics of a cross-validation run as DVC experiments, of all folds together and their spread."""

import json
import sys
from functools import partial
from pathlib import Path

import click

from panvision.cli.exits import Exit
from panvision.cli.framework import Args, command
from panvision.cli.options import FILE, argument, json_flag, project, project_of

USAGE = "dvc exp show --json | panvision folds"


@command(
    about="Reads what `dvc exp show --json` prints. Scores the per-image results of all folds of each cross-validation "
    "together, and shows each metric with its mean and spread over the folds.",
    examples={
        "of all experiments of the last commit": USAGE,
        "for programs, from a file": "panvision folds shown.json --json",
    },
    exits={Exit.WARNINGS: "done, but folds or their per-image results are missing"},
    sections={
        "arguments": [
            argument(
                "path",
                "What `dvc exp show --json` printed (default: standard input).",
                default="-",
                type=FILE,
                metavar="[FILE]",
            )
        ],
        "project": project(),
        "output": [json_flag("cross_validations: of each folds, finished, missing, differs, remark and figures")],
    },
)
def run(args: Args) -> int:
    """Print a table for each cross-validation."""
    from panvision.experiments.folds import cross_validations, pool, text, to_json
    from panvision.experiments.revisions import results_of

    found = cross_validations(read_shown(args.path, f"run `{USAGE}`"))
    pools = [pool(one, partial(results_of, project_of(args))) for one in found]
    if args.json:
        each = [to_json(one, found, pooled) for one, pooled in zip(found, pools, strict=True)]
        print(json.dumps({"cross_validations": each}, indent=2, ensure_ascii=False))
    else:
        print(text(found, pools))
    incomplete = any(one.missing for one in found) or any(pooled.remark for pooled in pools)
    return Exit.WARNINGS if incomplete else Exit.DONE


def read_shown(path: str, remedy: str) -> str:
    """Return what `dvc exp show --json` printed, from a file, or from standard input where the path is `-`.

    Args:
        path: of the file.
        remedy: what to do where nothing can be read.

    Raises:
        click.UsageError: standard input is a terminal, or is empty.
        RunsError: it is not text.
    """
    from panvision.experiments.runs import RunsError

    try:
        if path != "-":
            return Path(path).read_text(encoding="utf-8")
        shown = "" if sys.stdin.isatty() else sys.stdin.read()
    except UnicodeDecodeError as error:
        raise RunsError(f"not the output of `dvc exp show --json` ({error}); {remedy}") from error
    if not shown.strip():
        raise click.UsageError(f"Nothing to read; {remedy}.")
    return shown
