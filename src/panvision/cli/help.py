"""`panvision help`: the help of a command, or of all."""

from panvision.cli.framework import Args, command
from panvision.cli.main import cli, main
from panvision.cli.options import argument


@command(
    about="Shows the help of a command, as `panvision COMMAND --help` does.",
    examples={"of one command": "panvision help predict", "of all": "panvision help"},
    sections={
        "arguments": [
            argument(
                "topic",
                "Name of the command.",
                required=False,
                metavar="[COMMAND]",
                shell_complete=lambda ctx, param, word: [name for name in cli.summaries if name.startswith(word)],
            )
        ]
    },
)
def run(args: Args) -> int:
    """Print the help."""
    return main([*([args.topic] if args.topic else []), "--help"])
