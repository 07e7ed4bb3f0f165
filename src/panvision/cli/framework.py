"""Click commands that are imported when they are used; their help has examples and exit codes."""

import importlib
import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import SimpleNamespace as Args

import click

from panvision.cli.exits import ALWAYS, MEANINGS, Exit
from panvision.cli.failures import report

Sections = Mapping[str, Sequence[click.Parameter]]

CONTEXT = {
    "help_option_names": ["-h", "--help"],
    "max_content_width": 80,
    "show_default": True,
    # `--input-dir` is `--input_dir`.
    "token_normalize_func": lambda name: name.replace("-", "_"),
}


class Command(click.Command):
    """A command; see `command`.

    Attributes:
        sections: its parameters by the heading that they have in the help.
        codes: its exit codes with their meanings.
    """

    def __init__(
        self,
        run: Callable[[Args], int],
        *,
        about: str,
        examples: Mapping[str, str],
        sections: Sections,
        exits: Mapping[Exit, str],
    ) -> None:
        name = run.__module__.rpartition(".")[2]
        self.sections = {**sections, "general": [debug_option()]}
        params = [param for section in self.sections.values() for param in section]
        super().__init__(name, CONTEXT, params=params, help=about)
        self.codes = dict(sorted({**{code: MEANINGS[code] for code in ALWAYS}, **exits}.items()))
        self._run, self._examples = run, examples

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments; the error of an unknown option names the setting that may be meant."""
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            keys = _settings_called(error.option_name) if "set" in {param.name for param in self.params} else []
            if not keys:
                raise
            lines = " or ".join(f"--set {key}=VALUE" for key in keys)
            text = f"No such option '{error.option_name}'. Settings go through --set: {lines}."
            raise click.UsageError(text, ctx) from error

    def invoke(self, ctx: click.Context) -> int:
        """Run the command and report its error, if any; returns the exit code."""
        debug = ctx.find_root().params["debug"] or ctx.params["debug"]
        try:
            code = self._run(Args(**ctx.params))
            sys.stdout.flush()
        except BrokenPipeError:
            return Exit.ERROR  # the reader has seen enough (`| head`)
        except KeyboardInterrupt:
            print(f"{ctx.command_path}: interrupted", file=sys.stderr)
            return Exit.INTERRUPTED
        except click.UsageError as error:
            error.ctx = ctx
            raise
        except Exception as error:
            return report(error, ctx.command_path, debug=debug)
        return code

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """Return required options too, so that the usage line can be called as it is."""
        options = [param for param in self.params if isinstance(param, click.Option) and param.required]
        required = [f"{option.opts[0]} {option.make_metavar(ctx)}" for option in options]
        arguments = [piece for param in self.params for piece in param.get_usage_pieces(ctx)]
        return [*arguments, *required, "[options]"]

    def records(self, ctx: click.Context) -> dict[str, list[tuple[str, str]]]:
        """Return how each shown parameter is written, and its help, by section."""
        general = [*self.sections["general"], self.get_help_option(ctx)]
        found: dict[str, list[tuple[str, str]]] = {}
        for title, params in {**self.sections, "general": general}.items():
            records = (param.get_help_record(ctx) for param in params if param is not None)
            found[title] = [record for record in records if record is not None]
        return found

    def format_arguments(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write nothing: arguments are in the sections."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the parameters of each section."""
        for title, records in self.records(ctx).items():
            _write_list(formatter, title, records)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write examples and exit codes."""
        with formatter.section("examples"):
            for purpose, line in self._examples.items():
                formatter.write_text(f"{purpose}:")
                # Joined for the wrapping, so that no option loses its value.
                joined = re.sub(r"(--\w+) (?!-)", "\\1\0", line)
                lines = textwrap.wrap(joined, 70, break_long_words=False, break_on_hyphens=False)
                formatter.write("    " + " \\\n        ".join(lines).replace("\0", " ") + "\n")
        write_codes(formatter, self.codes)


def command(
    *,
    about: str,
    examples: Mapping[str, str],
    sections: Sections,
    exits: Mapping[Exit, str] | None = None,
) -> Callable[[Callable[[Args], int]], Command]:
    """Make a function of the parsed arguments a command, named like its module.

    Args:
        about: what it does.
        examples: what an example is for → the command line.
        sections: its parameters by heading.
        exits: exit codes of this command alone, and more exact meanings of others.
    """
    return lambda run: Command(run, about=about, examples=examples, sections=sections, exits=exits or {})


class Commands(click.Group):
    """A group whose commands are modules: `run` of `panvision.cli.<name>`.

    Args:
        groups: summary of each command, by name, by heading.
        settings: of click.Group.
    """

    def __init__(self, groups: Mapping[str, Mapping[str, str]], **settings: object) -> None:
        self.groups = groups
        self.summaries = {name: summary for group in groups.values() for name, summary in group.items()}
        super().__init__(context_settings=CONTEXT, **settings)  # type: ignore[arg-type]
        # Only the names are known before a command is imported; Click suggests from them.
        self.commands = dict.fromkeys(self.summaries)  # type: ignore[assignment]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name not in self.summaries:
            return None
        found: click.Command = importlib.import_module(f"panvision.cli.{cmd_name}").run
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands under their headings, then the exit codes."""
        for title, group in self.groups.items():
            _write_list(formatter, title, group.items())
        write_codes(formatter, MEANINGS)


def debug_option() -> click.Option:
    """Make `--debug`, which may be given before or after the command."""
    text = "Show where an error arose (also: PANVISION_DEBUG=1)."
    return click.Option(["--debug"], is_flag=True, envvar="PANVISION_DEBUG", help=text)


def write_codes(formatter: click.HelpFormatter, codes: Mapping[Exit, str]) -> None:
    """Write exit codes with their meanings."""
    _write_list(formatter, "exit codes", ((str(int(code)), meaning) for code, meaning in codes.items()))


def _settings_called(option: str) -> list[str]:
    """Return the keys of the settings that an unknown option may mean, `train.phase2.lr` for `--lr`."""
    from panvision.config import Config
    from panvision.core.params import matching_keys, setting_keys

    return matching_keys(option.lstrip("-"), setting_keys(Config))


def _write_list(formatter: click.HelpFormatter, title: str, rows: Iterable[tuple[str, str]]) -> None:
    with formatter.section(title):
        formatter.write_dl(list(rows), col_max=24)
