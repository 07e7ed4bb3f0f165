"""The command line as its own help describes it."""

import re
from pathlib import Path

import click

from panvision.cli.framework import Command
from panvision.cli.main import cli


def commands_text(root: Path) -> str:
    """Return the help of all, and a part for each command: purpose, options, examples and exit codes."""
    context = click.Context(cli, info_name="panvision", terminal_width=80, **cli.context_settings)
    lines = [_block(cli.get_help(context))]
    lines += [", ".join(f"[`{name}`](#panvision-{name})" for name in cli.summaries), ""]
    for name in cli.summaries:
        command = cli.get_command(context, name)
        assert isinstance(command, Command)  # noqa: S101 -- what the group imports
        lines += _command(name, command)
    return "\n".join(lines)


def _command(name: str, command: Command) -> list[str]:
    context = click.Context(command, info_name=f"panvision {name}", terminal_width=80, **command.context_settings)
    usage = command.get_usage(context).removeprefix("Usage: ")
    lines = [f"## panvision {name}", "", _prose(command.help or ""), "", _block(usage)]
    for title, records in command.records(context).items():
        lines += [f"**{title.capitalize()}**", ""]
        for written, words in records:
            lines += [f"`{written}`", f": {_prose(words)}", ""]
    formatter = context.make_formatter()
    command.format_epilog(context, formatter)
    return [*lines, _block(formatter.getvalue())]


def _prose(text: str) -> str:
    """Return help text as Markdown: what is typed is code, or its dashes would become a dash."""
    typed = r"(`.*?`)|(?<![\w-])--\w[\w-]*"
    return re.sub(typed, lambda found: found[1] or f"`{found[0]}`", " ".join(text.split()))


def _block(text: str) -> str:
    return f"```text\n{text.strip()}\n```\n"
