"""Rendering of templates: everything is escaped, and an unknown name is an error."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

_FOLDER = Path(__file__).parent
STYLE = "page.css"
MACROS = "macros.jinja"


def render(template: str, context: Mapping[str, object]) -> str:
    """Render a template of this folder as HTML.

    It also has `style`, the style sheet, `parts`, the shared macros, and the filter `visible`.
    """
    style = (_FOLDER / STYLE).read_text(encoding="utf-8")
    parts = _environment().get_template(MACROS).module
    return _environment().get_template(template).render(context, style=style, parts=parts)


@cache
def _environment() -> Environment:
    """Return the templates, each compiled once."""
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["visible"] = visible
    return environment


def visible(text: str) -> str:
    """Escape characters of a name that are invisible or change the direction of writing."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
