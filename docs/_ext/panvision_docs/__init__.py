"""Parts of the site that the code itself writes: a page says `<!-- generated: NAME -->` where one belongs.

They are Markdown, put into the page before it is read, so that headings and links in them are the page's own.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from panvision_docs.commands import commands_text
from panvision_docs.faults import faults_text
from panvision_docs.parameters import parameters_text, presets_text
from panvision_docs.rooms import rooms_text
from panvision_docs.stages import stages_text

GENERATED: dict[str, Callable[[Path], str]] = {
    "commands": commands_text,
    "faults": faults_text,
    "parameters": parameters_text,
    "presets": presets_text,
    "rooms": rooms_text,
    "stages": stages_text,
}
MARK = re.compile(r"^<!-- generated: (.*?) -->$", flags=re.MULTILINE)


def fill(source: str, root: Path) -> str:
    """A page's source with its generated parts in the place of their marks.

    Raises:
        KeyError: a mark with an unknown name.
    """
    return MARK.sub(lambda mark: GENERATED[mark[1]](root), source)


def setup(app: Any) -> dict[str, bool]:
    """Register with Sphinx."""
    root = Path(app.srcdir).parent

    def read(app: Any, name: str, source: list[str]) -> None:
        source[0] = fill(source[0], root)

    app.connect("source-read", read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
