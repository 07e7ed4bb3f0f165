"""`panvision presets`: list the presets that come with panvision, and write one as params.yaml."""

import json
import re
from pathlib import Path

import click

from panvision.cli.configuration import presets
from panvision.cli.exits import Exit
from panvision.cli.failures import UsageError
from panvision.cli.framework import Args, command
from panvision.cli.options import FILE, argument, flag, json_flag


@command(
    about="Lists the presets that come with panvision, or writes one to a file. A preset is a whole params.yaml: every "
    "setting with its comment. `--config` of other commands takes a preset's name in place of a file.",
    examples={
        "list them": "panvision presets",
        "start a params.yaml from one": "panvision presets edge params.yaml",
        "replace a params.yaml": "panvision presets laptop --force",
    },
    sections={
        "arguments": [
            argument("name", "The preset to write (default: list all).", required=False, metavar="[NAME]"),
            argument(
                "path",
                "The file to write (default: params.yaml).",
                default="params.yaml",
                type=FILE,
                metavar="[FILE]",
            ),
        ],
        "output": [
            flag("--force", "Replace the file if it exists."),
            json_flag("presets, and written, the file or null"),
        ],
    },
)
def run(args: Args) -> int:
    """List the presets or write one."""
    from panvision.core.files import write_text

    known = presets()
    texts = {name: path.read_text(encoding="utf-8") for name, path in known.items()}
    if args.name is not None:
        if args.name not in known:
            raise click.UsageError(f"No preset {args.name}; choose from {', '.join(known)}.")
        if Path(args.path).exists() and not args.force:
            raise UsageError(f"{args.path}: exists; name another file, or replace it with --force")
        write_text(args.path, texts[args.name])
    described = {name: _description(text) for name, text in texts.items()}
    if args.json:
        written = None if args.name is None else args.path
        print(json.dumps({"presets": described, "written": written}, indent=2, ensure_ascii=False))
    elif args.name is not None:
        print(f"{args.path}: preset {args.name}")
    else:
        formatter = click.HelpFormatter(width=80)
        formatter.write_dl(list(described.items()))
        print(formatter.getvalue(), end="")
    return Exit.DONE


def _description(text: str) -> str:
    """Return the first sentence of a preset's heading, `# PRESET <name>: …`."""
    heading = " ".join(line.removeprefix("#").strip() for line in text.partition("\n\n")[0].splitlines())
    return re.split(r"\.(?: |$)", heading.partition(": ")[2])[0]
