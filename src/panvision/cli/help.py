"""`panvision help`: the help of a command, or of all."""

import argparse

from panvision.cli.exits import Exit
from panvision.cli.manual import Manual

MANUAL = Manual(
    usage="[COMMAND]",
    about="Shows the help of a command, as `panvision COMMAND --help` does.",
    examples={"of one command": "panvision help predict", "of all": "panvision help"},
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `panvision help`."""
    from panvision.cli.parser import COMMANDS

    arguments = parser.add_argument_group("arguments")
    arguments.add_argument("topic", nargs="?", choices=tuple(COMMANDS), metavar="COMMAND", help="its name")


def run(args: argparse.Namespace) -> int:
    """Print it; returns 0."""
    from panvision.cli.parser import build_parser

    topic = [args.topic] if args.topic else []
    build_parser(topic).parse_args([*topic, "--help"])
    return Exit.DONE
