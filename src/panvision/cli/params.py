"""`panvision params`: is every setting of params.yaml known, typed and possible?"""

import argparse
import json

from panvision.cli.exits import Exit
from panvision.cli.flags import FILE, add_output, completed
from panvision.cli.manual import Manual

MANUAL = Manual(
    usage="[FILE]",
    about="Checks that every setting of params.yaml is known, of the right type and possible. Every fault is told in "
    "one line, with the key and what is allowed.",
    examples={
        "check params.yaml in the current folder": "panvision params",
        "check another file": "panvision params presets/resnet50.yaml",
        "for programs": "panvision params --json",
    },
    exits={Exit.DONE: "all settings are valid", Exit.ERROR: "they are not, or there is no such file"},
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `panvision params`."""
    arguments = parser.add_argument_group("arguments")
    text = "the file to check (default: %(default)s)"
    completed(arguments.add_argument("path", nargs="?", default="params.yaml", metavar="FILE", help=text), FILE)
    add_output(parser, "file, valid and faults")


def run(args: argparse.Namespace) -> int:
    """Check; returns 0, or 1 after telling every fault."""
    from panvision.config import Config
    from panvision.core.params import ParamsError

    faults: list[str] = []
    try:
        Config.from_params(args.path)
    except ParamsError as error:
        if not args.json:
            raise
        faults = str(error).splitlines()
    if args.json:
        print(json.dumps({"file": args.path, "valid": not faults, "faults": faults}, indent=2, ensure_ascii=False))
    else:
        print(f"{args.path}: all settings are valid")
    return Exit.ERROR if faults else Exit.DONE
