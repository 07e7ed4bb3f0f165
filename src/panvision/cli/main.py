"""The `panvision` command: reads the arguments and hands them to one subcommand's module."""

import argparse
import functools
import importlib
import os
import sys
from collections.abc import Sequence

from panvision import __version__

# A subcommand is a module of this package with `add_arguments(parser)` and `run(args) -> exit code`.
COMMANDS = {
    "validate": "check three labelled sets, and show how they would be split",
    "train": "train the model on a folder of labelled pictures, without DVC",
    "predict": "predict every picture of a folder",
    "watch": "watch a pan through a camera, a video or a growing folder",
    "benchmark": "speed, size and memory of model files",
    "params": "check params.yaml as a whole",
    "summary": "show the metrics of the pipeline's last run",
    "baselines": "compare the shared model with single-task experiments",
    "compare": "differences between two revisions, and whether they are noise",
    "previous": "keep an earlier commit's metrics for the report",
    "folds": "mean and spread of the metrics of k-fold experiments",
}

EPILOG = """\
`panvision COMMAND --help` lists a command's options; dashes and underscores in
them mean the same. The pipeline itself runs with `dvc repro`.

exit codes: 0 done, 1 error, 2 wrong usage, 3 done, but there were warnings
(validate) or files that could not be read (predict)
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: arguments without the program's name; by default the process's.

    Returns:
        Exit code: 0 done, 1 error, 3 done but with warnings or without some files. Wrong usage exits with 2.
    """
    arguments = underscored(sys.argv[1:] if argv is None else argv)
    args = build_parser(arguments).parse_args(arguments)
    try:
        return int(args.run(args))
    except BrokenPipeError:
        # The reader has seen enough (`| head`); Python would complain once more when it closes the stream.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print("panvision: interrupted", file=sys.stderr)
        return 130


def build_parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    """The parser; only the command that stands in `arguments` is imported."""
    parser = argparse.ArgumentParser(
        prog="panvision",
        description="One model for a cooking pan: where it is, what is in and over it,\nwhat state the onions are in.",
        epilog=EPILOG,
        # The narrower indent leaves the longest command's summary on its line.
        formatter_class=functools.partial(argparse.RawDescriptionHelpFormatter, indent_increment=1),
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"panvision {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    chosen = next((argument for argument in arguments if not argument.startswith("-")), None)
    for name, summary in COMMANDS.items():
        command = commands.add_parser(
            name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.", allow_abbrev=False
        )
        if name == chosen:
            module = importlib.import_module(f"panvision.cli.{name}")
            module.add_arguments(command)
            command.set_defaults(run=module.run)
    return parser


def underscored(arguments: Sequence[str]) -> list[str]:
    """The arguments with `--input-dir` written `--input_dir`; values stay as they are."""
    written = []
    for argument in arguments:
        if argument.startswith("--") and len(argument) > 2:
            flag, equals, value = argument[2:].partition("=")
            written.append(f"--{flag.replace('-', '_')}{equals}{value}")
        else:
            written.append(argument)
    return written


if __name__ == "__main__":
    sys.exit(main())
