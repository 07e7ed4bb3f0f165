"""What a command's help says besides its options: usage, purpose, examples, exit codes."""

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field

from panvision.cli.exits import ALWAYS, MEANINGS, Exit

WIDTH = 80


@dataclass(frozen=True)
class Manual:
    """A command's own words.

    Attributes:
        usage: arguments that cannot be left out, as they stand behind the command's name.
        about: what the command does, in a sentence or some.
        examples: what an example is for → the command line.
        exits: the exit codes of this command alone, and what is said of others more exactly.
    """

    usage: str
    about: str
    examples: Mapping[str, str]
    exits: Mapping[Exit, str] = field(default_factory=dict)

    @property
    def codes(self) -> dict[Exit, str]:
        """Every exit code that the command can return, with its meaning."""
        meanings = {**{code: MEANINGS[code] for code in ALWAYS}, **self.exits}
        return dict(sorted(meanings.items()))

    def epilog(self) -> str:
        """Examples and exit codes as the end of the help text."""
        lines = ["examples:"]
        for purpose, command in self.examples.items():
            lines += [*_wrapped(f"{purpose}:", "  "), _continued(command)]
        lines += ["", "exit codes:"]
        for code, meaning in self.codes.items():
            lines += _wrapped(meaning, f"  {code:<5}", " " * 7)
        return "\n".join(lines)


def paragraphs(text: str) -> str:
    """Text in lines that fit a terminal; an empty line parts paragraphs."""
    return "\n\n".join(textwrap.fill(" ".join(part.split()), WIDTH) for part in text.split("\n\n"))


def _wrapped(text: str, first: str, further: str | None = None) -> list[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=first,
        subsequent_indent=first if further is None else further,
        break_on_hyphens=False,
    )


def _continued(command: str) -> str:
    """A command line that can be copied into a shell, in as many lines as it needs; no option loses its value."""
    if len(command) <= WIDTH - 4:
        return f"    {command}"
    parts = command.replace(" --", "\n--").split("\n")
    lines = [parts[0]]
    for part in parts[1:]:
        if len(lines[-1]) + len(part) > WIDTH - 11:
            lines.append(part)
        else:
            lines[-1] += f" {part}"
    return "    " + " \\\n        ".join(lines)
