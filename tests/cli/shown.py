"""Commands as the tests see them: parsed lines and help, without running anything."""

import re
from collections.abc import Sequence

import click

from panvision.cli.framework import Command
from panvision.cli.main import cli


def command_of(name: str) -> Command:
    found = cli.get_command(click.Context(cli), name)
    assert isinstance(found, Command)
    return found


def parsed(arguments: Sequence[str]) -> dict:
    """Return the parsed arguments of a command line without the program's name."""
    name, *others = arguments
    return command_of(name).make_context(f"panvision {name}", list(others)).params


def help_of(name: str) -> str:
    """Return a command's help, as a terminal shows it."""
    command = command_of(name)
    return command.get_help(click.Context(command, info_name=f"panvision {name}", **command.context_settings))


def json_keys(name: str) -> set[str]:
    """Return the words with which a command's help describes the JSON that it prints."""
    (option,) = (param for param in command_of(name).params if "--json" in param.opts)
    return set(re.findall(r"\w+", option.help.partition(": ")[2]))
