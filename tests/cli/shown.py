"""What help shows, for tests."""

import re

from panvision.cli.parser import command_parsers


def help_of(command: str) -> str:
    """A command's help, as a terminal shows it."""
    return command_parsers()[command].format_help()


def json_keys(command: str) -> set[str]:
    """The words by which a command's help describes what `--json` prints."""
    (action,) = (one for one in command_parsers()[command]._actions if "--json" in one.option_strings)
    return set(re.findall(r"\w+", str(action.help).partition(": ")[2]))
