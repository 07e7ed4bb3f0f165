"""The command line's grammar: its commands, their help, and what is said of a mistyped word."""

import argparse
import difflib
import importlib
import itertools
import shutil
from collections.abc import Sequence
from typing import Any, NoReturn

from panvision import __version__
from panvision.cli.exits import MEANINGS, Exit
from panvision.cli.manual import WIDTH, Manual, paragraphs

# A command is a module of this package with `MANUAL`, `add_arguments(parser)` and `run(args) -> exit code`.
# By what they are for: what stands in one line of `panvision --help`.
GROUPS = {
    "data and training": {
        "validate": "check three labelled sets, and show how they would be split",
        "params": "check params.yaml as a whole",
        "train": "train the model on a folder of labelled pictures, without DVC",
    },
    "results of the pipeline": {
        "summary": "show the metrics of the last run",
        "compare": "differences between two revisions, and whether they are noise",
        "previous": "keep an earlier commit's metrics for the report",
        "baselines": "compare the shared model with single-task experiments",
        "folds": "mean and spread of the metrics of k-fold experiments",
    },
    "use of a model": {
        "predict": "predict every picture of a folder",
        "watch": "watch a pan through a camera, a video or a growing folder",
        "page": "a web page on this machine to try a model on",
        "benchmark": "speed, size and memory of model files",
    },
    "this command line": {
        "completion": "print what makes a shell complete commands and options",
        "help": "show the help of a command",
    },
}
COMMANDS = {name: summary for group in GROUPS.values() for name, summary in group.items()}

ABOUT = "One model for a cooking pan: where it is, what is in and over it, what state the onions are in."
EPILOG = """\
`panvision COMMAND --help` has a command's options, examples and exit codes. Dashes and underscores in options mean the
same. The pipeline itself runs with `dvc repro`."""


class Parser(argparse.ArgumentParser):
    """A parser that takes a mistyped option for what was probably meant, and says so."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """As argparse's; an unknown option is told before what is missing for want of it, and nothing is left over."""
        arguments = list(args or ())
        for argument in arguments:
            if argument == "--" or (self._subparsers is not None and not argument.startswith("-")):
                break
            name = argument.partition("=")[0]
            if name.startswith("--") and name not in self._option_string_actions:
                self.error(f"no option {name}{suggestion(name, self.options)}")
        if self._subparsers is None:
            arguments = self._options_first(arguments)
        found, others = super().parse_known_args(arguments, namespace)
        if others:
            self.error(f"cannot be used here: {' '.join(others)}")
        return found, others

    def _options_first(self, arguments: list[str]) -> list[str]:
        """The same, for a Python whose argparse loses what may be left out where an option stands before it."""
        end = arguments.index("--") if "--" in arguments else len(arguments)
        options: list[str] = []
        others: list[str] = []
        ahead = iter(arguments[:end])
        for argument in ahead:
            action = self._option_string_actions.get(argument.partition("=")[0])
            (others if action is None else options).append(argument)
            if action is not None and action.nargs is None and "=" not in argument:
                options += itertools.islice(ahead, 1)
        return [*options, *others, *arguments[end:]]

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """As argparse's, with what was probably meant, or else what there is to choose from."""
        if action.choices is not None and value not in action.choices:
            known = [str(choice) for choice in action.choices]
            hint = suggestion(str(value), known) or f"; choose from {', '.join(known)}"
            raise argparse.ArgumentError(action, f"{value!r} is unknown{hint}")

    @property
    def options(self) -> list[str]:
        """What help shows of the options' names."""
        shown = [action for action in self._actions if action.help != argparse.SUPPRESS]
        return [name for action in shown for name in action.option_strings]

    def error(self, message: str) -> NoReturn:
        """Say what is wrong below the usage, in a line each."""
        self.exit(Exit.USAGE, f"{self.format_usage()}{self.prog}: {message} (see `{self.prog} --help`)\n")


class _TopParser(Parser):
    """The parser of `panvision` itself, whose help shows the commands in groups."""

    def format_help(self) -> str:
        """As a page of at most 80 columns."""
        lines = [self.format_usage().rstrip(), "", paragraphs(ABOUT)]
        for title, commands in GROUPS.items():
            lines += ["", f"{title}:", *(f"  {name:<12}{summary}" for name, summary in commands.items())]
        lines += ["", "options:"]
        for names, text in (
            ("-h, --help", "show this, or with a command its own help"),
            ("-V, --version", "show the version"),
            ("--debug", "show where an error arose (also: PANVISION_DEBUG=1)"),
        ):
            lines.append(f"  {names:<15}{text}")
        lines += ["", "exit codes:", *(f"  {code:<5}{meaning}" for code, meaning in MEANINGS.items())]
        return "\n".join([*lines, "", paragraphs(EPILOG), ""])


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Help in at most 80 columns, however wide the terminal is."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=26, width=min(WIDTH, shutil.get_terminal_size().columns))


def build_parser(arguments: Sequence[str]) -> Parser:
    """The parser of these arguments; of the commands, only the one that stands in them is imported."""
    word = next((argument for argument in arguments if not argument.startswith("-")), None)
    parser = _parser([word] if word in COMMANDS else [])
    if word is not None and word not in COMMANDS:
        parser.error(f"no command {word!r}{suggestion(word, list(COMMANDS))}")
    return parser


def full_parser() -> Parser:
    """The parser of all commands, each with all its options: for completion and for the reference."""
    return _parser(list(COMMANDS))


def command_parsers() -> dict[str, Parser]:
    """Every command's own parser by its name, in the order of `panvision --help`."""
    commands = next(action for action in full_parser()._actions if isinstance(action, argparse._SubParsersAction))
    return dict(commands.choices)


def manual_of(command: str) -> Manual:
    """What a command's help says besides its options."""
    manual: Manual = importlib.import_module(f"panvision.cli.{command}").MANUAL
    return manual


def suggestion(word: str, known: Sequence[str]) -> str:
    """What was probably meant, as the end of a sentence; "" if nothing is like it."""
    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _parser(whole: Sequence[str]) -> Parser:
    """The parser in which these commands have their options."""
    parser = _TopParser(prog="panvision", usage="panvision COMMAND [options]", add_help=False, allow_abbrev=False)
    parser.add_argument("-h", "--help", action="help", help="show this")
    parser.add_argument(
        "-V", "--version", action="version", version=f"panvision {__version__}", help="show the version"
    )
    _add_debug(parser)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=Parser)
    for name, summary in COMMANDS.items():
        command = commands.add_parser(
            name, prog=f"panvision {name}", help=summary, formatter_class=_Formatter, add_help=False, allow_abbrev=False
        )
        if name in whole:
            _complete(command, name)
    return parser


def _complete(command: Parser, name: str) -> None:
    """Give a command its options and its help."""
    module = importlib.import_module(f"panvision.cli.{name}")
    manual: Manual = module.MANUAL
    module.add_arguments(command)
    general = command.add_argument_group("general")
    general.add_argument("-h", "--help", action="help", help="show this")
    _add_debug(general)
    command.usage = f"panvision {name} {manual.usage}".rstrip() + " [options]"
    command.description, command.epilog = paragraphs(manual.about), manual.epilog()
    command.set_defaults(run=module.run)


def _add_debug(group: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    # Before or behind the command: neither may overwrite the other.
    text = "show where an error arose (also: PANVISION_DEBUG=1)"
    group.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=text)
