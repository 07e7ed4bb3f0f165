"""`panvision completion`: a script that makes a shell complete commands, options, files and folders."""

from typing import Any

import click

from panvision.cli.exits import Exit
from panvision.cli.framework import Args, command
from panvision.cli.options import argument

SHELLS = ("bash", "zsh", "fish")


@command(
    about="Prints a script that makes a shell complete commands, options, and files and folders where they are meant.",
    examples={
        "in this shell, or in ~/.bashrc for all": 'eval "$(panvision completion bash)"',
        "zsh, in a folder of its $fpath": "panvision completion zsh > ~/.zsh/completions/_panvision",
        "fish": "panvision completion fish > ~/.config/fish/completions/panvision.fish",
    },
    sections={"arguments": [argument("shell", ", ".join(SHELLS), type=click.Choice(SHELLS), metavar="SHELL")]},
)
def run(args: Args) -> int:
    """Print the script."""
    from click.shell_completion import get_completion_class

    from panvision.cli.main import cli

    shell: Any = get_completion_class(args.shell)
    print(shell(cli, {}, "panvision", "_PANVISION_COMPLETE").source())
    return Exit.DONE
