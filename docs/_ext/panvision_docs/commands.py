"""The command line as its own parser describes it."""

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

from panvision.cli.main import COMMANDS, build_parser

WIDTH = 78  # columns of a usage line


def commands_text(root: Path) -> str:
    """The help of all, and a part for each command: what it does, its options, examples and exit codes."""
    lines = [_block(build_parser([]).format_help().strip())]
    lines += [", ".join(f"[`{name}`](#panvision-{name})" for name in COMMANDS), ""]
    for name in COMMANDS:
        command = _commands(build_parser([name]))[name]
        lines += [f"## panvision {name}", "", _prose(command.description or ""), "", _block(_usage(command))]
        for group in command._action_groups:
            actions = [action for action in group._group_actions if action.help is not argparse.SUPPRESS]
            if actions:
                title = (group.title or "options").removeprefix("positional ")
                lines += [f"**{title.capitalize()}**", ""]
                lines += [line for action in actions for line in _action(command, action)]
        lines += [_block(command.epilog.strip())] if command.epilog else []
    return "\n".join(lines)


def _commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Name → parser of each command."""
    return next((dict(found.choices) for found in parser._actions if isinstance(found, argparse._SubParsersAction)), {})


def _usage(parser: argparse.ArgumentParser) -> str:
    """The usage line, of the same width wherever it is made."""
    formatter = argparse.HelpFormatter(parser.prog, width=WIDTH)
    formatter.add_usage(parser.usage, parser._actions, parser._mutually_exclusive_groups, prefix="")
    return formatter.format_help().strip()


def _action(parser: argparse.ArgumentParser, action: argparse.Action) -> Iterator[str]:
    """An entry of a definition list."""
    formatter = argparse.HelpFormatter(parser.prog)
    signs = formatter._format_action_invocation(action)
    words = _prose(formatter._expand_help(action)) if action.help else ""
    required = "required" if action.required and action.option_strings else ""
    yield f"`{signs}`"
    yield f": {'; '.join(part for part in (words, required) if part)}"
    yield ""


def _prose(text: str) -> str:
    """Help text as Markdown: what is typed is code, or its dashes would become a dash."""
    typed = r"(`.*?`)|(?<![\w-])--\w[\w-]*"
    return re.sub(typed, lambda found: found[1] or f"`{found[0]}`", " ".join(text.split()))


def _block(text: str) -> str:
    return f"```text\n{text}\n```\n"
