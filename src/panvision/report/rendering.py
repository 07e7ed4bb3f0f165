"""Templates filled: everything is escaped, and a name that is not there is an error."""

from collections.abc import Mapping
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

STYLE = "page.css"
MACROS = "data.macros.jinja"


def render(template: str, context: Mapping[str, object]) -> str:
    """A template of this folder as HTML.

    It also gets `style`, the style sheet, `parts`, the shared macros, and the filter `visible`.
    """
    folder = Path(__file__).parent
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["visible"] = visible
    style = (folder / STYLE).read_text(encoding="utf-8")
    parts = environment.get_template(MACROS).module
    return environment.get_template(template).render(context, style=style, parts=parts)


def visible(text: str) -> str:
    """A name with line ends, and other signs that show nothing or turn the direction of writing, escaped."""
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)
