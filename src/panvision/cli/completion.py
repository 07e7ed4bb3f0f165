"""`panvision completion`: a script that makes a shell complete commands, options, files and folders."""

import argparse

from panvision.cli.exits import Exit
from panvision.cli.manual import Manual

SHELLS = ("bash", "zsh", "tcsh")

MANUAL = Manual(
    usage="SHELL",
    about="Prints a script that makes a shell complete commands, options, and files and folders where they are meant.",
    examples={
        "in this shell, or in ~/.bashrc for all": 'eval "$(panvision completion bash)"',
        "zsh, in a folder of its $fpath": "panvision completion zsh > ~/.zsh/completions/_panvision",
        "tcsh": "panvision completion tcsh > ~/.panvision.csh && source ~/.panvision.csh",
    },
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `panvision completion`."""
    arguments = parser.add_argument_group("arguments")
    arguments.add_argument("shell", choices=SHELLS, metavar="SHELL", help=", ".join(SHELLS))


def run(args: argparse.Namespace) -> int:
    """Print the script; returns 0."""
    import shtab

    from panvision.cli.parser import full_parser

    print(shtab.complete(full_parser(), args.shell))
    return Exit.DONE
