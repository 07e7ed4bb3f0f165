"""`panvision folds`: mean and spread of the metrics over the folds of a cross-validation run as DVC experiments."""

import json
import sys
from pathlib import Path

import click

from panvision.cli.exits import Exit
from panvision.cli.framework import Args, command
from panvision.cli.options import FILE, argument, json_flag

USAGE = "dvc exp show --json | panvision folds"


@command(
    about="Reads what `dvc exp show --json` prints, and shows mean and spread of each metric over the folds of every "
    "cross-validation.",
    examples={
        "of all experiments of the last commit": USAGE,
        "for programs, from a file": "panvision folds shown.json --json",
    },
    exits={Exit.WARNINGS: "done, but folds are missing"},
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
        "output": [json_flag("cross_validations: of each folds, finished, missing, differs and figures")],
    },
)
def run(args: Args) -> int:
    """Print a table for each cross-validation."""
    from panvision.experiments.folds import cross_validations, text, to_json
    from panvision.experiments.runs import RunsError

    if args.path == "-" and sys.stdin.isatty():
        raise click.UsageError(f"Nothing to read; run `{USAGE}`.")
    try:
        shown = sys.stdin.read() if args.path == "-" else Path(args.path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise RunsError(f"not the output of `dvc exp show --json` ({error}); run `{USAGE}`") from error
    found = cross_validations(shown)
    if args.json:
        each = [to_json(one, found) for one in found]
        print(json.dumps({"cross_validations": each}, indent=2, ensure_ascii=False))
    else:
        print(text(found))
    return Exit.WARNINGS if any(one.missing for one in found) else Exit.DONE
