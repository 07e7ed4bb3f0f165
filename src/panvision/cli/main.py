"""The `panvision` command: reads the arguments and hands them to one subcommand's module."""

import os
import sys
import warnings
from collections.abc import Sequence

from panvision.cli.exits import Exit
from panvision.cli.failures import report
from panvision.cli.parser import COMMANDS, build_parser, command_parsers, full_parser

__all__ = ["COMMANDS", "build_parser", "command_parsers", "full_parser", "main", "underscored"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: arguments without the program's name; by default the process's.

    Returns:
        An exit code of `panvision.cli.exits`. Wrong usage leaves by SystemExit, as help does.
    """
    arguments = underscored(sys.argv[1:] if argv is None else argv)
    try:
        with warnings.catch_warnings():
            # Of damaged metadata and of large pictures; what a command refuses it says itself, in a line.
            warnings.filterwarnings("ignore", module=r"PIL\.")
            return _run(arguments)
    finally:
        _settle_output()


def _run(arguments: Sequence[str]) -> int:
    parser = build_parser(arguments)
    if not arguments:
        parser.exit(Exit.USAGE, parser.format_help())
    args = parser.parse_args(arguments)
    args.debug = hasattr(args, "debug") or os.environ.get("PANVISION_DEBUG", "0") not in ("", "0")
    try:
        code = int(args.run(args))
        sys.stdout.flush()
    except BrokenPipeError:
        return Exit.ERROR  # the reader has seen enough (`| head`)
    except KeyboardInterrupt:
        print(f"panvision {args.command}: interrupted", file=sys.stderr)
        return Exit.INTERRUPTED
    except Exception as error:
        return report(error, args.command, debug=args.debug)
    return code


def _settle_output() -> None:
    """Drop what cannot be written: Python would complain of it once more when it closes the stream."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


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
